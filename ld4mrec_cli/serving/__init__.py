"""From a run directory to recommendations."""
