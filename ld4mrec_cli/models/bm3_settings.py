"""Settings of BM3."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Depth, Fraction, NonNegative, Section, Width


class BM3Config(Section):
    """BM3: bootstrapped vectors without negative items (Zhou et al., WWW 2023)."""

    factors: Width = 64
    """Length of the user and item vectors."""
    layers: Depth = 1
    """Graph convolutions over the interactions."""
    target_dropout: Fraction = 0.5
    """Dropout that makes the target view of a vector."""
    alignment: NonNegative = 2.0
    """Weight of the losses of the modalities."""
    regularization: NonNegative = 0.1
    """Weight of the lengths of all vectors, divided by the number of items."""
