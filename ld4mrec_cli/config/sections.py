"""Sections of the configuration: data, the LD4MRec model, training, evaluation.

The docstring under each field is its documentation: ``docs/config.md`` is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from ld4mrec_cli.config.types import (
    TFIDF,
    ColumnName,
    Count,
    Cutoffs,
    Fraction,
    Mask,
    Names,
    NonNegative,
    Positive,
    Probability,
    Section,
    Seed,
    Share,
    SourceFormat,
    SplitMethod,
)
from ld4mrec_cli.errors import nearest


class PrepareConfig(Section):
    """How `prepare` reads, filters and splits raw data."""

    format: SourceFormat = "auto"
    """Layout of the raw directory; `auto` recognises it from the file names and headers."""
    split: SplitMethod = "auto"
    """How interactions are split. `auto` takes given labels where the source has them, else `random`."""
    k_core: Annotated[int, Field(ge=0)] | None = None
    """Keep users and items with at least this many interactions, repeatedly; 0 keeps all. Unset: 0 if given, else 5."""
    valid_ratio: Share = 0.1
    """Share of the interactions that goes to validation (random, temporal and global-time splits)."""
    test_ratio: Share = 0.1
    """Share of the interactions that goes to test (random, temporal and global-time splits)."""
    min_rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Interactions rated below this are dropped before anything else; unset keeps all."""
    on_error: Literal["raise", "skip"] = "raise"
    """A malformed line of raw data is an error (`raise`), or is left out and counted (`skip`)."""
    max_errors: Annotated[int, Field(ge=0)] = 100
    """With `on_error: skip`, more malformed lines than this are an error all the same."""
    seed: Seed = 0
    """Seed of the random splits and of the truncated SVD of the text features."""
    text_fields: tuple[str, ...] = ("title", "brand", "categories", "description")
    """Item fields that are joined, in this order, into the text of the `text` modality."""
    text_dim: Count = 128
    """Columns of the text features (truncated SVD of TF-IDF)."""
    text_encoder: str = TFIDF
    """What makes the `text` modality: `tfidf`, or the path of a local sentence-transformers model directory."""
    image_encoder: Path | None = None
    """Local weights (`.safetensors`, `.pth`, `.pt`) that encode the raw folder `images/`; unset leaves it out."""
    image_backbone: str = "resnet50"
    """The timm model that the weights of `image_encoder` belong to."""
    encoder_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where text and image encoders run; `auto` takes CUDA where there is any."""
    columns: dict[ColumnName, str] = Field(default_factory=dict)
    """Names of the columns in plain tables, where they are not the usual ones, e.g. `{user: customer}`."""

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_are_ours_and_differ(cls, value: Any) -> Any:
        known, seen = get_args(ColumnName), dict[Any, Any]()
        for ours, theirs in value.items() if isinstance(value, Mapping) else ():
            if ours not in known:
                raise ValueError(f"unknown column '{ours}'. {nearest(str(ours), known)}")
            if str(theirs) in seen:
                raise ValueError(f"{seen[str(theirs)]} and {ours} are both '{theirs}'")
            seen[str(theirs)] = ours
        return value

    @model_validator(mode="after")
    def _shares_leave_training_data(self) -> PrepareConfig:
        if self.valid_ratio + self.test_ratio >= 1.0:
            raise ValueError("valid_ratio + test_ratio must stay below 1, so that something is left to train on")
        return self


class DataConfig(Section):
    """Which dataset directory is used, and what of it."""

    path: Path | None = None
    """The dataset directory that `prepare` wrote."""
    modalities: Names | None = None
    """Modalities to use, by name; unset uses every one that the dataset has, `[]` none."""


class ModelConfig(Section):
    """C-Net: encoder, BD-Blocks, BG-Blocks, decoder, and the guidance signals."""

    hidden_dim: Count = 256
    """Width d of the latent state h."""
    bd_blocks: Annotated[int, Field(ge=0)] = 1
    """Number of behaviour-denoising blocks; 0 switches them off."""
    bg_blocks: Annotated[int, Field(ge=0)] = 1
    """Number of behaviour-generation blocks (guided); 0 switches them off."""
    expansion: Positive = 2.0
    """Width of the blocks' hidden layer, as a multiple of `hidden_dim`."""
    time_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 32
    """Width of the time embedding."""
    dropout: Fraction = 0.5
    """Dropout on the latent state during training."""
    guidance: Names | None = None
    """Signals that guide the BG-Blocks: `collaborative` and modality names; unset takes all there are, `[]` none."""
    guidance_source: Literal["corrupted", "clean"] = "corrupted"
    """Row that guidance is computed from in training. `clean` (the paper's) leaks the target; see docs/model.md."""
    collaborative_rank: Count = 256
    """Rank r of the collaborative item basis V (truncated SVD of the normalised interactions)."""
    modality_dim: Count = 256
    """Features with more columns than this are reduced to it by PCA."""
    item_side: bool = True
    """Item-side guidance in the decoder: items are also scored by their content and neighbours."""
    item_weights: bool = True
    """Score also by zero-diagonal ridge item weights B (EASE^R). Multinomial loss: in a mixture with C-Net's softmax at
    inference. `mse`: with a learned scale, in training too, so that C-Net learns what they leave."""
    item_weights_scale: Positive = 1.0
    """Weight of `[xB]₊` beside the softmax; with `mse`, where the learned scale starts."""
    item_weights_ridge: Positive = 400.0
    """Ridge λ of the item weights."""
    item_weights_degree_ridge: NonNegative = 1.0
    """Ridge of an item in proportion to its weighted interactions, beside λ: training as if under dropout (EDLAE)."""
    item_weights_user_exponent: NonNegative = 0.5
    """An interaction of a user with d of them weighs d^-this in the regression: few active users do not rule."""
    item_weights_max_items: Count = 10_000
    """Catalogues larger than this go without item weights (the closed form inverts an items × items matrix)."""
    factor_scores: bool = False
    """Score also by the inner products of implicit alternating least squares, in the mixture at inference (multinomial
    loss only): an estimate of low rank beside that of the item weights."""
    factor_scores_scale: Positive = 1.0
    """Weight of these scores beside the softmax."""
    factor_scores_dim: Count = 64
    """Length of the user and item vectors."""
    factor_scores_unobserved_weight: Positive = 0.004
    """Weight α₀ of an item without interaction in the squared error, where an interaction weighs 1."""
    factor_scores_ridge: Positive = 0.4
    """Ridge λ of the vectors."""
    factor_scores_frequency_exponent: Probability = 0.5
    """ν: λ is multiplied by (interactions + α₀ · others)^ν of the user or item."""
    popularity_bias: bool = True
    """Start the output bias at the log popularity of the items (multinomial loss only)."""


class DiffusionConfig(Section):
    """Forward process, behavioural reconstruction, sampling of t and inference."""

    steps: Count = 5
    """Number of forward steps T; without Gaussian noise every row is at t = 0."""
    noise_scale: NonNegative = 0.0
    """Scale s of the Gaussian noise schedule; 0 switches the Gaussian noise off."""
    noise_min: Fraction = 0.001
    """a_min of the linear schedule."""
    noise_max: Fraction = 0.02
    """a_max of the linear schedule."""
    mask_rate: Fraction = 0.6
    """Probability that an observed behaviour is dropped in the forward process; 0 switches masking off."""
    soft_reconstruction: bool = True
    """Soft behavioural reconstruction of the labels."""
    soft_probability: Probability = 0.1
    """Probability p that an entry of the row is smoothed."""
    smoothing_intensity: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0005
    """γ: a smoothed label is x + γ(1 - 2x)."""
    soft_labels: Literal["expected", "drawn"] = "expected"
    """Smooth the labels of a subset `drawn` anew for each row, as published, or all by what is `expected` of it: the
    expected gradient is the same, without its variance and without dense labels."""
    importance_sampling: bool = True
    """Draw t in proportion to the root mean square of its recent losses, else uniformly; acts with Gaussian noise."""
    inference_steps: Count = 1
    """1 is one-step inference; K > 1 runs the reverse chain over K steps, for comparison."""

    @model_validator(mode="after")
    def _schedule_is_a_schedule(self) -> DiffusionConfig:
        if self.noise_min > self.noise_max:
            raise ValueError("noise_min must not exceed noise_max")
        if self.noise_scale * self.noise_max >= 1.0:
            raise ValueError("noise_scale * noise_max must stay below 1, or no signal is left at step T")
        if self.inference_steps > max(1, self.steps):
            raise ValueError("inference_steps must not exceed steps")
        if self.inference_steps > 1 and self.noise_scale == 0.0:
            raise ValueError("inference_steps > 1 needs Gaussian noise: set noise_scale above 0")
        return self


class TrainingConfig(Section):
    """The training loop."""

    seed: Seed = 0
    """Seed of the weights, of the forward process and of the order of the users."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    loss: Literal["multinomial", "mse"] = "multinomial"
    """`multinomial`: softmax cross-entropy over the catalogue. `mse`: the paper's."""
    target: Literal["all", "destroyed"] = "destroyed"
    """Reconstruct `all` behaviours, or only those that masking `destroyed` (visible items are left out of the loss)."""
    batch_size: Count = 256
    """Users per step; interactions for `bpr`, `lightgcn` and `vbpr`."""
    row_weight_exponent: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """a of the weight n^a in the multinomial loss of a row in which n behaviours are sought: 0 counts every row the
    same, 1 every behaviour the same. Long histories tell more of which items go together."""
    sampled_items: Annotated[int, Field(ge=0)] | None = None
    """Items drawn for each step that, with those sought in the batch, stand for the catalogue in the multinomial loss;
    0 takes the whole catalogue. Unset: 0 for up to 20,000 items, 8,192 above. `mse` is above that size computed over
    the whole catalogue in closed form."""
    learning_rate: Positive = 0.002
    """Step size of AdamW."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay of the blocks; of a trained baseline, of all its matrices."""
    embedding_weight_decay: NonNegative = 0.0
    """Decoupled weight decay of the encoder's and decoder's item embeddings W_e and W_d."""
    grad_clip: NonNegative = 0.0
    """Gradient norm at which gradients are clipped; 0 never clips."""
    ema_decay: Fraction = 0.99
    """Decay of the moving average of the weights, per step; 0 switches averaging off."""
    max_epochs: Count = 200
    """Upper bound on the epochs."""
    patience: Count = 20
    """Stop after this many validations without a better `metric`."""
    validate_every: Count = 1
    """Epochs between validations; each also writes a checkpoint, unless that would take more than 5 % of the time."""
    validation_users: Annotated[int, Field(ge=0)] | None = None
    """Users that a validation ranks the catalogue for, drawn once by the seed; 0 takes all. Unset: all while users
    times items is up to 2·10⁹, else as many as that allows, but at least 2,000."""
    metric: Annotated[str, Field(pattern=r"^(recall|ndcg|precision|hit|mrr|map)@[1-9][0-9]*$")] = "ndcg@20"
    """Validation metric that selects the epoch, e.g. `recall@20`."""
    precision: Literal["float32", "bf16", "auto"] = "float32"
    """`bf16` runs the matrix products of training in bfloat16 (autocast); `auto` does where the hardware has it."""


class EvaluationConfig(Section):
    """Ranking protocol of validation, `evaluate` and `recommend`."""

    k: Cutoffs = (5, 10, 20, 50)
    """Cutoffs of the metrics that `evaluate` reports."""
    mask: Mask = "train"
    """Items left out of a user's ranking at test time: `train`, or `train+valid`."""
    batch_size: Count = 1024
    """Users scored at a time."""
