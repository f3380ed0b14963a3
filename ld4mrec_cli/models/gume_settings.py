"""Settings of GUME."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Count, Depth, NonNegative, Positive, Section, Width


class GUMEConfig(Section):
    """GUME: enhanced graph and user modalities (Lin et al., CIKM 2024); defaults as for Baby."""

    factors: Width = 64
    """Length of the user and item vectors."""
    layers: Depth = 3
    """Graph convolutions over the interactions and the added edges between items."""
    item_layers: Depth = 2
    """Graph convolutions over the graph of similar items of each modality."""
    neighbors: Count = 10
    """Nearest items in the features of each modality, the item itself included."""
    modality_alignment: NonNegative = 0.1
    """Weight of the difference in mean and variance between the modalities."""
    behavior_alignment: NonNegative = 0.01
    """Weight of the contrastive loss between content and behavior."""
    behavior_temperature: Positive = 0.4
    """Temperature of that loss."""
    user_contrast: NonNegative = 0.01
    """Weight of the contrastive losses of the users' two modality vectors."""
    user_temperature: Positive = 0.1
    """Temperature of those losses."""
    perturbation: NonNegative = 0.1
    """Length of the noise that makes two views of a user's vector."""
    regularization: NonNegative = 1e-5
    """L2 penalty of the vectors in a batch, per interaction."""
    extended_regularization: NonNegative = 0.1
    """L2 penalty of the items' extended vectors in a batch, per interaction."""
