"""Run directories: their files, and the model that they serve."""
