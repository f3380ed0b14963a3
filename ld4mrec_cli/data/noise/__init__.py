"""Noise in the training interactions of a dataset directory."""
