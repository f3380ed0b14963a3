"""Sections of the baselines, one each; the defaults are the published ones.

What a baseline takes from the ``training`` section besides (learning rate, batch size, …) is in
``presets/models/NAME.yaml``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ld4mrec_cli.config.types import Count, Fraction, NonNegative, Positive, Probability, Section


class ItemKNNConfig(Section):
    """Item-based nearest neighbours, cosine similarity (Sarwar et al., WWW 2001)."""

    neighbours: Count = 100
    """Neighbours kept per item."""
    shrinkage: NonNegative = 0.0
    """Added to the denominator of the cosine, so that similarities seen on few users count less."""
    user_exponent: NonNegative = 0.0
    """An interaction of a user with d of them weighs d^-this; 1 is the cosine of the normalised bipartite graph."""
    source_exponent: NonNegative = 0.5
    """Exponent of the degree of the item interacted with, in the denominator; 0.5 on both sides is the cosine."""
    target_exponent: NonNegative = 0.5
    """Exponent of the degree of the item scored, in the denominator; below 0.5 favours popular items."""


class EASEConfig(Section):
    """EASE^R, zero-diagonal ridge item weights in closed form (Steck, WWW 2019)."""

    ridge: Positive = 500.0
    """Ridge λ."""


class IALSConfig(Section):
    """Implicit alternating least squares (Hu et al., ICDM 2008; settings of Rendle et al., RecSys 2022)."""

    factors: Count = 128
    """Length of the user and item vectors."""
    unobserved_weight: Positive = 0.1
    """Weight α₀ of an item without interaction in the squared error, where an interaction weighs 1."""
    regularisation: Positive = 0.003
    """Ridge λ of the vectors."""
    frequency_exponent: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """ν: λ is multiplied by (interactions + α₀ · others)^ν of the user or item."""
    iterations: Count = 16
    """Alternations over users and items."""


class BPRConfig(Section):
    """Matrix factorisation by Bayesian personalised ranking (Rendle et al., UAI 2009)."""

    factors: Count = 64
    """Length of the user and item vectors."""
    regularisation: NonNegative = 1e-4
    """L2 penalty of the vectors in a batch, per interaction."""


class LightGCNConfig(Section):
    """LightGCN: vectors averaged over graph convolutions without weights (He et al., SIGIR 2020)."""

    factors: Count = 64
    """Length of the user and item vectors."""
    layers: Annotated[int, Field(ge=0)] = 3
    """Graph convolutions; 0 is `bpr` without item biases."""
    regularisation: NonNegative = 1e-4
    """L2 penalty of the vectors of a batch before convolution, per interaction."""


class VBPRConfig(Section):
    """Visual Bayesian personalised ranking: `bpr` and a projection of the item features (He & McAuley, AAAI 2016)."""

    factors: Count = 64
    """Length of the latent user and item vectors."""
    feature_factors: Count = 64
    """Length of the user and item vectors that the item features are projected to."""
    regularisation: NonNegative = 1e-4
    """L2 penalty of the vectors in a batch and of the projection, per interaction."""


class MultVAEConfig(Section):
    """Variational autoencoder with multinomial likelihood (Liang et al., WWW 2018)."""

    hidden_dim: Count = 600
    """Width of the hidden layers."""
    latent_dim: Count = 200
    """Width of the latent variable."""
    dropout: Fraction = 0.5
    """Dropout on the behaviours that the encoder sees."""
    kl_cap: Probability = 0.2
    """Weight β of the Kullback-Leibler term once annealing ends."""
    kl_anneal_steps: Count = 200_000
    """Training steps over which the weight would rise from 0 to 1; it stops at `kl_cap`."""


class DiffRecConfig(Section):
    """DiffRec: a diffusion model over interaction rows, multi-step inference (Wang et al., SIGIR 2023)."""

    hidden_dims: Annotated[tuple[Count, ...], Field(min_length=1)] = (1000,)
    """Widths of the hidden layers from the narrowest on; the encoder has them in reverse."""
    time_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 10
    """Width of the time embedding."""
    dropout: Fraction = 0.5
    """Dropout on the noisy row."""
    steps: Count = 5
    """Diffusion steps T, in training and in inference."""
    noise_scale: Positive = 0.1
    """Scale s of the noise schedule."""
    noise_min: Fraction = 0.001
    """Lower end of the linear schedule."""
    noise_max: Fraction = 0.02
    """Upper end of the linear schedule."""
    sampling_steps: Annotated[int, Field(ge=0)] = 0
    """Steps by which the row is corrupted before inference; 0 starts from the row itself."""
    reweight: bool = True
    """Weight the loss of step t by the difference of the signal-to-noise ratios at t-1 and t."""

    @model_validator(mode="after")
    def _schedule_is_a_schedule(self) -> DiffRecConfig:
        if self.noise_min > self.noise_max:
            raise ValueError("noise_min must not exceed noise_max")
        if not 0.0 < self.noise_scale * self.noise_max < 1.0:
            raise ValueError("noise_scale * noise_max must lie between 0 and 1")
        if self.sampling_steps > self.steps:
            raise ValueError("sampling_steps must not exceed steps")
        return self
