"""Sections of the configuration that several groups share."""
