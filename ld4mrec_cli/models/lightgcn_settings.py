"""Settings of LightGCN."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ld4mrec_cli.settings.base import Count, NonNegative, Section


class LightGCNConfig(Section):
    """LightGCN: vectors averaged over graph convolutions without weights (He et al., SIGIR 2020)."""

    factors: Count = 64
    """Length of the user and item vectors."""
    layers: Annotated[int, Field(ge=0)] = 3
    """Graph convolutions; 0 is `bpr` without item biases."""
    regularization: NonNegative = 1e-4
    """L2 penalty of the vectors of a batch before convolution, per interaction."""
