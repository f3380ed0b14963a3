"""Settings of iALS."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ld4mrec_cli.settings.base import (
    AUTO,
    Auto,
    Count,
    Positive,
    Probability,
    Ridge,
    Section,
    Width,
)


@dataclass(frozen=True)
class IALSChoice:
    """Settings that may be chosen on validation; the defaults are where a choice starts."""

    unobserved_weight: float = 0.005
    regularization: float = 0.25
    frequency_exponent: float = 0.5


class IALSConfig(Section):
    """Implicit alternating least squares (Hu et al., ICDM 2008; Rendle et al., RecSys 2022)."""

    factors: Width = 128
    """Length of the user and item vectors."""
    unobserved_weight: Positive | Auto = 0.1
    """Weight α₀ of an unobserved cell in the squared error; an interaction has weight 1. `auto`
    chooses it on validation."""
    regularization: Ridge = 0.003
    """Ridge λ of the vectors; `auto` chooses it on validation."""
    frequency_exponent: Probability | Auto = 1.0
    """ν: λ is multiplied by (interactions + α₀ · others)^ν of the user or item; `auto` chooses it
    on validation."""
    iterations: Count = 16
    """Alternations over users and items."""

    @property
    def choice(self) -> IALSChoice:
        """What is chosen on validation, as far as it is given."""
        given = {one.name: getattr(self, one.name) for one in fields(IALSChoice)}
        return IALSChoice(**{name: one for name, one in given.items() if not isinstance(one, str)})

    @property
    def settled(self) -> IALSChoice:
        """:attr:`choice`, with which vectors are solved. Raises ValueError for an ``auto``."""
        autos = [one.name for one in fields(IALSChoice) if getattr(self, one.name) == AUTO]
        if autos:
            raise ValueError(f"nothing was chosen for {', '.join(autos)}")
        return self.choice

    def with_choice(self, choice: IALSChoice) -> IALSConfig:
        """These settings with what is chosen."""
        update: dict[str, Any] = asdict(choice)
        return self.model_copy(update=update)
