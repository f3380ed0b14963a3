"""From raw sources to a dataset directory."""
