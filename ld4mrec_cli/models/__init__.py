"""The models: a file each, with its settings beside it."""
