"""Studies: several runs set against each other."""
