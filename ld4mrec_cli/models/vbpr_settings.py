"""Settings of VBPR."""

from __future__ import annotations

from ld4mrec_cli.settings.base import NonNegative, Section, Width


class VBPRConfig(Section):
    """Visual Bayesian personalized ranking: `bpr` and a projection of the item features (He & McAuley, AAAI 2016)."""

    factors: Width = 64
    """Length of the latent user and item vectors."""
    feature_factors: Width = 64
    """Length of the user and item vectors that the item features are projected to."""
    regularization: NonNegative = 1e-4
    """L2 penalty of the vectors in a batch and of the projection, per interaction."""
