"""Settings of EASE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ld4mrec_cli.settings.base import (
    AutoSwitch,
    ContentWeight,
    Count,
    NonNegative,
    Ridge,
    Section,
)


@dataclass(frozen=True)
class EASEChoice:
    """Settings that may be chosen on validation; the defaults are where a choice starts."""

    ridge: float = 400.0
    content_weight: float | Mapping[str, float] = 0.0
    nonnegative: bool = False

    def content_weights(self, modalities: Iterable[str]) -> dict[str, float]:
        """Weights by modality: those of a mapping, or one for all ``modalities``."""
        if isinstance(self.content_weight, Mapping):
            return dict(self.content_weight)
        return dict.fromkeys(modalities, self.content_weight)


class EASEConfig(Section):
    """EASE^R: zero-diagonal ridge regression of the items, in closed form (Steck, WWW 2019)."""

    ridge: Ridge = 500.0
    """Ridge λ; `auto` chooses it on validation."""
    degree_ridge: NonNegative = 0.0
    """Added ridge of an item, in proportion to its weighted interactions: dropout (EDLAE)."""
    user_exponent: NonNegative = 0.0
    """An interaction of a user with d interactions has the weight d^-this. So few very active users
    do not dominate."""
    content_weight: ContentWeight = 0.0
    """Weight a of item features in `G = XᵀWX + a·FFᵀ` (collective EASE, Jeunen et al., RecSys
    2020): a number for every modality, or a mapping such as `{text: 5, image: 1}`; `auto` chooses
    that of each modality on validation."""
    nonnegative: AutoSwitch = False
    """Set negative weights to 0. Better on sparse data, worse on dense data such as MovieLens;
    `auto` chooses on validation. Above `max_items` it does so to the sparse part of the weights."""
    max_items: Count = 20_000
    """Larger catalogs have approximate EASE weights, sparse plus low rank. (The dense matrix takes
    about 8 bytes for each pair of items, 3 GB at 20,000, and time items³.)"""
    neighbors: Count = 400
    """Items that each item is solved on in a catalog above `max_items`. More are closer to the
    dense form; time grows with their cube, memory in proportion."""

    @property
    def choice(self) -> EASEChoice:
        """What is chosen on validation, as far as it is given."""
        return EASEChoice(
            ridge=EASEChoice.ridge if isinstance(self.ridge, str) else self.ridge,
            content_weight=(
                EASEChoice.content_weight
                if isinstance(self.content_weight, str)
                else self.content_weight
            ),
            nonnegative=(
                EASEChoice.nonnegative if isinstance(self.nonnegative, str) else self.nonnegative
            ),
        )
