"""Settings of BPR."""

from __future__ import annotations

from ld4mrec_cli.settings.base import NonNegative, Section, Width


class BPRConfig(Section):
    """Matrix factorization by Bayesian personalized ranking (Rendle et al., UAI 2009)."""

    factors: Width = 64
    """Length of the user and item vectors."""
    regularization: NonNegative = 1e-4
    """L2 penalty of the vectors in a batch, per interaction."""
