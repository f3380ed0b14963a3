"""Settings of MultVAE."""

from __future__ import annotations

from ld4mrec_cli.settings.base import Count, Fraction, Probability, Section, Width


class MultVAEConfig(Section):
    """Variational autoencoder with multinomial likelihood (Liang et al., WWW 2018)."""

    hidden_dim: Width = 600
    """Width of the hidden layers."""
    latent_dim: Width = 200
    """Width of the latent variable."""
    dropout: Fraction = 0.5
    """Dropout on the behaviors that the encoder sees."""
    kl_cap: Probability = 0.2
    """Weight β of the Kullback-Leibler term once annealing ends."""
    kl_anneal_steps: Count = 200_000
    """Training steps over which the weight would rise from 0 to 1; it stops at `kl_cap`."""
