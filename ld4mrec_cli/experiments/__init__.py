"""Several runs towards one answer."""
