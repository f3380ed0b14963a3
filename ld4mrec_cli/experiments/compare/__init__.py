"""Models side by side, and tests of their differences."""
