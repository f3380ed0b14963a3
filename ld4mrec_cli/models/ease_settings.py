"""Settings of EASE."""

from __future__ import annotations

from ld4mrec_cli.settings.base import ContentWeight, Count, NonNegative, Positive, Section


class EASEConfig(Section):
    """EASE^R: zero-diagonal ridge regression of the items, in closed form (Steck, WWW 2019)."""

    ridge: Positive = 500.0
    """Ridge λ."""
    degree_ridge: NonNegative = 0.0
    """Added ridge of an item, in proportion to its weighted interactions: dropout (EDLAE)."""
    user_exponent: NonNegative = 0.0
    """An interaction of a user with d interactions has the weight d^-this. So few very active users
    do not dominate."""
    content_weight: ContentWeight = 0.0
    """Weight a of item features in `G = XᵀWX + a·FFᵀ` (collective EASE, Jeunen et al., RecSys
    2020): a number for every modality, or a mapping such as `{text: 5, image: 1}`."""
    nonnegative: bool = False
    """Set negative weights to 0. Better on sparse data, worse on dense data such as MovieLens.
    Above `max_items` it does so to the sparse part of the weights."""
    max_items: Count = 20_000
    """Larger catalogs have approximate EASE weights, sparse plus low rank. (The dense matrix takes
    about 8 bytes for each pair of items, 3 GB at 20,000, and time items³.)"""
    neighbors: Count = 400
    """Items that each item is solved on in a catalog above `max_items`. More are closer to the
    dense form; time grows with their cube, memory in proportion."""
