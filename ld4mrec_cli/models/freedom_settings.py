"""Settings of FREEDOM."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Count, Depth, Fraction, NonNegative, Section, Width


class FREEDOMConfig(Section):
    """FREEDOM: frozen item graph, pruned interaction graph (Zhou & Shen, MM 2023)."""

    factors: Width = 64
    """Length of the user and item vectors."""
    layers: Depth = 2
    """Graph convolutions over the interactions."""
    item_layers: Depth = 1
    """Graph convolutions over the graph of similar items."""
    neighbors: Count = 10
    """Nearest items in the features of each modality, the item itself included."""
    modality_weights: dict[str, NonNegative] | None = None
    """Weights of the modalities in the graph of similar items, by name; others have none. Unset:
    `image` has 0.1, as published, and others share the rest; without `image` all have the same."""
    edge_dropout: Fraction = 0.8
    """Share of the interactions that an epoch leaves out of its graph; those of users and items
    with many others are left out more often."""
    modality_loss: NonNegative = 1e-3
    """Weight λ of the ranking losses of the projected features."""
