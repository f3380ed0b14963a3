"""Settings of EASE."""

from __future__ import annotations

from ld4mrec_cli.settings.base import ContentWeight, NonNegative, Positive, Section


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
