"""Settings of ItemKNN."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Count, NonNegative, Section


class ItemKNNConfig(Section):
    """Item-based nearest neighbors, cosine similarity (Sarwar et al., WWW 2001)."""

    neighbors: Count = 100
    """Neighbors kept per item."""
    shrinkage: NonNegative = 0.0
    """Added to the denominator of the cosine: similarities of few users count less."""
    user_exponent: NonNegative = 0.0
    """An interaction of a user with d interactions has the weight d^-this. 1 gives the cosine of
    the normalized bipartite graph."""
    source_exponent: NonNegative = 0.5
    """Exponent of the degree of the item interacted with, in the denominator; 0.5 for both items is
    the cosine."""
    target_exponent: NonNegative = 0.5
    """Exponent of the degree of the scored item, in the denominator; below 0.5 favors popular
    items."""
