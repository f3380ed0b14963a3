"""LD4MRec: a light diffusion model for multimedia recommendation (arXiv 2309.15363)."""

__version__ = "0.1.0"
