"""Studies over many runs: the search for hyperparameters."""
