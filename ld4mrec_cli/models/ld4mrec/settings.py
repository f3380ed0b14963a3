"""Settings of LD4MRec: sections `model` (C-Net) and `diffusion`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ld4mrec_cli.settings.base import (
    Count,
    Depth,
    Fraction,
    Names,
    NonNegative,
    Positive,
    Probability,
    Section,
    Steps,
    TimeWidth,
    Width,
)


class ModelConfig(Section):
    """C-Net: encoder, BD-Blocks, BG-Blocks, decoder, and the guidance signals."""

    hidden_dim: Width = 256
    """Width d of the latent state h."""
    bd_blocks: Depth = 1
    """Number of behavior-denoising blocks; 0 switches them off."""
    bg_blocks: Depth = 1
    """Number of behavior-generation blocks (guided); 0 switches them off."""
    expansion: Annotated[float, Field(gt=0.0, le=1_000.0)] = 2.0
    """Width of the blocks' hidden layer, as a multiple of `hidden_dim`."""
    time_dim: TimeWidth = 32
    """Width of the time embedding."""
    dropout: Fraction = 0.5
    """Dropout on the latent state during training."""
    guidance: Names | None = None
    """Signals that guide the BG-Blocks: `collaborative` and modality names; unset takes all there are, `[]` none."""
    guidance_source: Literal["corrupted", "clean"] = "corrupted"
    """Row that guidance is computed from in training. `clean` (the paper's) leaks the target; see docs/model.md."""
    collaborative_rank: Width = 256
    """Rank r of the collaborative item basis V (truncated SVD of the normalized interactions)."""
    modality_dim: Width = 256
    """Features with more columns than this are reduced to it by PCA."""
    item_side: bool = True
    """Item-side guidance in the decoder: items are also scored by their content and neighbors."""
    ease: bool = True
    """Score also by zero-diagonal ridge item weights B (EASE^R). Multinomial loss: in a mixture with C-Net's softmax at
    inference. `mse`: with a learned scale, in training too, so that C-Net learns what they leave."""
    ease_scale: Positive = 1.0
    """Weight of `[xB]₊` beside the softmax; with `mse`, where the learned scale starts."""
    ease_ridge: Positive = 400.0
    """Ridge λ of the item weights."""
    ease_degree_ridge: NonNegative = 1.0
    """Ridge of an item in proportion to its weighted interactions, beside λ: training as if under dropout (EDLAE)."""
    ease_user_exponent: NonNegative = 0.5
    """An interaction of a user with d of them weighs d^-this in the regression: few active users do not rule."""
    ease_max_items: Count = 10_000
    """Catalogs larger than this go without item weights (the closed form inverts an items × items matrix)."""
    ials: bool = False
    """Score also by the inner products of implicit alternating least squares, in the mixture at inference (multinomial
    loss only): an estimate of low rank beside that of the item weights."""
    ials_scale: Positive = 1.0
    """Weight of these scores beside the softmax."""
    ials_dim: Width = 64
    """Length of the user and item vectors."""
    ials_unobserved_weight: Positive = 0.004
    """Weight α₀ of an item without interaction in the squared error, where an interaction weighs 1."""
    ials_ridge: Positive = 0.4
    """Ridge λ of the vectors."""
    ials_frequency_exponent: Probability = 0.5
    """ν: λ is multiplied by (interactions + α₀ · others)^ν of the user or item."""
    popularity_bias: bool = True
    """Start the output bias at the log popularity of the items (multinomial loss only)."""


class DiffusionConfig(Section):
    """Forward process, behavioral reconstruction, sampling of t and inference."""

    steps: Steps = 5
    """Number of forward steps T; without Gaussian noise every row is at t = 0."""
    noise_scale: NonNegative = 0.0
    """Scale s of the Gaussian noise schedule; 0 switches the Gaussian noise off."""
    noise_min: Fraction = 0.001
    """a_min of the linear schedule."""
    noise_max: Fraction = 0.02
    """a_max of the linear schedule."""
    mask_rate: Fraction = 0.6
    """Probability that an observed behavior is dropped in the forward process; 0 switches masking off."""
    soft_reconstruction: bool = True
    """Soft behavioral reconstruction of the labels."""
    soft_probability: Probability = 0.1
    """Probability p that an entry of the row is smoothed."""
    smoothing_intensity: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0005
    """γ: a smoothed label is x + γ(1 - 2x)."""
    soft_labels: Literal["expected", "drawn"] = "expected"
    """Smooth the labels of a subset `drawn` anew for each row, as published, or all by what is `expected` of it: the
    expected gradient is the same, without its variance and without dense labels."""
    importance_sampling: bool = True
    """Draw t in proportion to the root mean square of its recent losses, else uniformly; acts with Gaussian noise."""
    inference_steps: Steps = 1
    """1 is one-step inference; K > 1 runs the reverse chain over K steps, for comparison."""

    @model_validator(mode="after")
    def _schedule_is_a_schedule(self) -> DiffusionConfig:
        if self.noise_min > self.noise_max:
            raise ValueError("noise_min must not exceed noise_max")
        if self.noise_scale * self.noise_max >= 1.0:
            raise ValueError(
                "noise_scale * noise_max must stay below 1, or no signal is left at step T"
            )
        if self.inference_steps > max(1, self.steps):
            raise ValueError("inference_steps must not exceed steps")
        if self.inference_steps > 1 and self.noise_scale == 0.0:
            raise ValueError("inference_steps > 1 needs Gaussian noise: set noise_scale above 0")
        return self
