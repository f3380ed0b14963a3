"""Settings of EASE."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Positive, Section


class EASEConfig(Section):
    """EASE^R: zero-diagonal ridge regression of the items, in closed form (Steck, WWW 2019)."""

    ridge: Positive = 500.0
    """Ridge λ."""
