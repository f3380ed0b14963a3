"""Settings of MGCN."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Count, Depth, NonNegative, Positive, Section, Width


class MGCNConfig(Section):
    """MGCN: multi-view graph convolution with purified content (Yu et al., MM 2023)."""

    factors: Width = 64
    """Length of the user and item vectors."""
    layers: Depth = 2
    """Graph convolutions over the interactions."""
    item_layers: Depth = 1
    """Graph convolutions over the graph of similar items of each modality."""
    neighbors: Count = 10
    """Nearest items in the features of each modality, the item itself included."""
    contrast: NonNegative = 0.01
    """Weight λ_c of the contrastive loss between content and behavior."""
    temperature: Positive = 0.2
    """Temperature of the contrastive loss."""
    regularization: NonNegative = 1e-4
    """L2 penalty of the vectors in a batch, per interaction."""
