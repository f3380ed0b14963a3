"""Encoders of item texts and images."""
