"""Settings of CFGAN."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Count, NonNegative, Probability, Section, Width


class CFGANConfig(Section):
    """Generative adversarial network over rows (Chae et al., CIKM 2018)."""

    generator_dim: Width = 400
    """Width of the generator's hidden layers."""
    generator_layers: Count = 1
    """Hidden layers of the generator."""
    discriminator_dim: Width = 125
    """Width of the discriminator's hidden layers."""
    discriminator_layers: Count = 1
    """Hidden layers of the discriminator."""
    zero_ratio: Probability = 0.7
    """Share of the items without interaction whose score is drawn to 0 (zero reconstruction)."""
    zero_weight: NonNegative = 0.03
    """Weight of the zero reconstruction."""
    mask_ratio: Probability = 0.7
    """Share of the items without interaction that the discriminator sees (partial masking)."""
    regularization: NonNegative = 0.001
    """L2 penalty of the generator's matrices."""
