"""What a run holds on disk."""
