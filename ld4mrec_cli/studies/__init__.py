"""Studies: several runs towards one end, a comparison or a search."""
