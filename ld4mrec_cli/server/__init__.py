"""HTTP server of a run: the JSON API, the page, metrics, and the change to a newer run."""
