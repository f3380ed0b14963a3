"""A first look at raw files or a dataset directory."""
