"""Search for settings, by validation alone."""
