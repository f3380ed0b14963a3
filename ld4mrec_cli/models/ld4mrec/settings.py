"""Settings of LD4MRec: sections `model` (C-Net) and `diffusion`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ld4mrec_cli.settings.base import (
    Auto,
    AutoSwitch,
    ContentWeight,
    Count,
    Depth,
    Fraction,
    HalfLife,
    Names,
    NonNegative,
    NonNegativeInt,
    Positive,
    Probability,
    Ridge,
    Scale,
    Section,
    Steps,
    Switch,
    SwitchEach,
    TimeWidth,
    Width,
)


class ModelConfig(Section):
    """C-Net: encoder, BD-Blocks, BG-Blocks, decoder, and the guidance signals."""

    hidden_dim: Width = 256
    """Width d of the latent state h."""
    bd_blocks: Annotated[Depth, Switch("BD-Blocks", 0)] = 1
    """Number of behavior-denoising blocks; 0 switches them off."""
    bg_blocks: Annotated[Depth, Switch("BG-Blocks", 0)] = 1
    """Number of behavior-generation blocks, with guidance; 0 switches them off."""
    expansion: Annotated[float, Field(gt=0.0, le=1_000.0)] = 2.0
    """Width of the blocks' hidden layer, as a multiple of `hidden_dim`."""
    time_dim: TimeWidth = 32
    """Width of the time embedding."""
    dropout: Fraction = 0.5
    """Dropout on the latent state during training."""
    guidance: Annotated[Names | None, SwitchEach("guidance by")] = None
    """Signals that guide the BG-Blocks: `collaborative` and modality names. Unset takes all, `[]`
    none."""
    guidance_source: Literal["corrupted", "clean"] = "corrupted"
    """Row that guidance is computed from in training. `clean` (the paper's) leaks the targets; see
    docs/model.md."""
    collaborative_rank: Width = 256
    """Rank r of the collaborative item basis V (truncated SVD of the normalized interactions)."""
    modality_dim: Width = 256
    """Features with more columns than this are reduced to it by PCA."""
    item_side: Annotated[bool, Switch("item-side guidance")] = True
    """Item-side guidance in the decoder: items are also scored by their content and neighbors."""
    ease: Annotated[bool, Switch("EASE")] = True
    """Also score by the item-item weights B of EASE^R. Multinomial loss: mixed with C-Net's softmax
    at inference. `mse`: added to the scores with a learned scale, in training too."""
    ease_scale: Scale = "auto"
    """Weight of `[xB]₊` in the mixture, where `auto` is chosen at each validation, with the epoch.
    With `mse`, the initial learned scale (`auto`: 1)."""
    ease_ridge: Ridge = "auto"
    """Ridge λ of EASE; `auto` chooses it on validation before the training."""
    ease_degree_ridge: NonNegative = 1.0
    """Added ridge of an item, in proportion to its weighted interactions: dropout (EDLAE)."""
    ease_user_exponent: NonNegative = 0.5
    """An interaction of a user with d interactions has the weight d^-this in the regression. So few
    very active users do not dominate."""
    ease_content_weight: Annotated[
        ContentWeight, Switch("content in B", 0.0, needs="model.ease", needs_features=True)
    ] = "auto"
    """Weight a of item features in the regression, `G = XᵀWX + a·FFᵀ`: a number for every modality,
    or a mapping such as `{text: 5, image: 1}`; `auto` chooses that of each modality on validation
    before the training."""
    ease_nonnegative: Annotated[AutoSwitch, Switch("nonnegative B", needs="model.ease")] = "auto"
    """Set negative weights of EASE to 0. Better on sparse data, worse on dense data such as
    MovieLens; `auto` chooses on validation before the training. Above `ease_max_items` it does so
    to the sparse part of the weights."""
    ease_max_items: Count = 20_000
    """Larger catalogs have approximate EASE weights, sparse plus low rank. (The dense matrix takes
    about 8 bytes for each pair of items, 3 GB at 20,000, and time items³.)"""
    ease_neighbors: Count = 400
    """Items that each item is solved on in a catalog above `ease_max_items`. More are closer to the
    dense form; time grows with their cube, memory in proportion."""
    ials: Annotated[AutoSwitch, Switch("iALS")] = False
    """Also score by implicit alternating least squares, in the mixture at inference (multinomial
    loss only): an estimate of low rank beside that of EASE. `auto`: where it is better by itself
    than EASE on validation, before the training; off without EASE, and with `mse`. Where iALS is
    strong the best epoch may come so early that C-Net, which ranks new items by their content, has
    hardly learned."""
    ials_scale: Scale = "auto"
    """Weight of the iALS scores in the mixture, where `auto` is chosen at each validation, with the
    epoch."""
    ials_dim: Width = 128
    """Length of the user and item vectors of iALS."""
    ials_unobserved_weight: Positive | Auto = "auto"
    """Weight α₀ of an unobserved cell in the squared error; an interaction has weight 1. `auto`
    chooses it on validation before the training."""
    ials_ridge: Ridge = "auto"
    """Ridge λ of the vectors of iALS; `auto` chooses it on validation before the training."""
    ials_frequency_exponent: Probability | Auto = "auto"
    """ν: λ is multiplied by (interactions + α₀ · others)^ν of the user or item; `auto` chooses it
    on validation before the training."""
    trend_half_life: Annotated[HalfLife, Switch("trend", "off", needs_times=True)] = "auto"
    """Correct the scores of the mixture for what is popular now: multiply them by the ratio of the
    recent popularity of an item to that over all time. An interaction counts half after this time,
    in the unit of the timestamps. `auto`: it is chosen on validation where the split is in time,
    else off. So is the power of the ratio."""
    popularity_bias: Annotated[bool, Switch("popularity bias")] = True
    """Start the output bias at the log popularity of the items (multinomial loss only)."""


class DiffusionConfig(Section):
    """Forward process, behavioral reconstruction, sampling of t and inference."""

    steps: Steps = 5
    """Number of forward steps T; without Gaussian noise every row is at t = 0."""
    noise_scale: Annotated[
        NonNegative,
        Switch(
            "Gaussian noise",
            0.0,
            also=(("diffusion.inference_steps", 1), ("diffusion.inference_start", None)),
        ),
    ] = 0.0
    """Scale s of the Gaussian noise schedule; 0 switches the Gaussian noise off."""
    noise_min: Fraction = 0.001
    """a_min of the linear schedule."""
    noise_max: Probability = 0.02
    """a_max of the linear schedule; the paper's is 1."""
    mask_rate: Annotated[Fraction, Switch("masking", 0.0, also=(("training.target", "all"),))] = 0.6
    """Probability that the forward process drops a behavior; 0 switches masking off."""
    soft_reconstruction: Annotated[bool, Switch("soft reconstruction")] = True
    """Soft behavioral reconstruction of the labels."""
    soft_probability: Probability = 0.1
    """Probability p that the label of an entry is smoothed."""
    smoothing_intensity: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0005
    """γ: a smoothed label is x + γ(1 - 2x)."""
    soft_labels: Literal["expected", "drawn"] = "expected"
    """`drawn`: smooth the labels of a random subset of each row, as published. `expected`: use the
    expectation of these labels; no label is dense, and the gradient has less variance."""
    importance_sampling: Annotated[
        bool, Switch("importance sampling", needs="diffusion.noise_scale")
    ] = True
    """Draw t in proportion to the root mean square of its recent losses; otherwise uniformly. It
    matters only with Gaussian noise."""
    inference_steps: Steps = 1
    """1 is one-step inference; K > 1 runs the reverse chain over K steps, for comparison."""
    inference_start: NonNegativeInt | None = None
    """Step t that inference starts from, with the row noised up to it; its K steps are t, t - 1, …
    Unset: the row itself for one step, K for a chain. 0: the row itself, also for a chain."""

    @model_validator(mode="after")
    def _check_schedule(self) -> DiffusionConfig:
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
        start = self.inference_start
        if start and not self.inference_steps <= start <= self.steps:
            raise ValueError("inference_start must be 0, or lie between inference_steps and steps")
        if start and self.noise_scale == 0.0:
            raise ValueError("inference_start > 0 needs Gaussian noise: set noise_scale above 0")
        return self
