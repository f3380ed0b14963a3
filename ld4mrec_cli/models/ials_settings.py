"""Settings of IALS."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ld4mrec_cli.settings.base import Count, Positive, Section, Width


class IALSConfig(Section):
    """Implicit alternating least squares (Hu et al., ICDM 2008; settings of Rendle et al., RecSys 2022)."""

    factors: Width = 128
    """Length of the user and item vectors."""
    unobserved_weight: Positive = 0.1
    """Weight α₀ of an item without interaction in the squared error, where an interaction weighs 1."""
    regularization: Positive = 0.003
    """Ridge λ of the vectors."""
    frequency_exponent: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """ν: λ is multiplied by (interactions + α₀ · others)^ν of the user or item."""
    iterations: Count = 16
    """Alternations over users and items."""
