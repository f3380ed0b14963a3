"""Settings of LightGCN."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Depth, NonNegative, Section, Width


class LightGCNConfig(Section):
    """LightGCN: vectors averaged over graph convolutions without weights (He et al., SIGIR 2020)."""

    factors: Width = 64
    """Length of the user and item vectors."""
    layers: Depth = 3
    """Graph convolutions; 0 is `bpr` without item biases."""
    regularization: NonNegative = 1e-4
    """L2 penalty of the vectors of a batch before convolution, per interaction."""
