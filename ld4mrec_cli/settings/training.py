"""Section `training`: the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ld4mrec_cli.settings.base import (
    MAY_CHANGE_ON_RESUME,
    NOT_SEARCHED,
    Count,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Positive,
    Probability,
    ReadBy,
    Section,
    Seed,
    Switch,
)

METRIC = r"^[a-z][a-z0-9_]*@[1-9][0-9]{0,8}$"
"""Name of a metric and its cutoff."""


class TrainingConfig(Section):
    """The training loop."""

    seed: Annotated[Seed, NOT_SEARCHED] = 0
    """Seed of the weights, of the forward process and of the order of the users."""
    device: Annotated[str, MAY_CHANGE_ON_RESUME, NOT_SEARCHED] = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    loss: Annotated[Literal["multinomial", "mse"], ReadBy("ld4mrec")] = "multinomial"
    """`multinomial`: softmax cross-entropy over the catalog. `mse`: the paper's."""
    target: Annotated[Literal["all", "masked"], ReadBy("ld4mrec")] = "masked"
    """Reconstruct `all` behaviors, or only the `masked` ones: unmasked items do not count in the
    loss."""
    batch_size: Count = 256
    """Users per step; interactions for models that learn from single ones, `bpr` to `gume` in the
    table of baselines."""
    row_weight_exponent: Annotated[Probability, ReadBy("ld4mrec")] = 0.5
    """a of the weight n^a of a row with n targets in the multinomial loss: 0 weighs every row the
    same, 1 every target the same. Long histories say more about items that go together."""
    sampled_items: Annotated[NonNegativeInt | None, ReadBy("ld4mrec")] = None
    """Items sampled per step; with the targets of the batch they stand for the catalog in the
    multinomial loss. 0 takes the whole catalog. Unset: 0 up to 5,000 items, 1,024 up to 20,000,
    8,192 above. `mse` above 20,000 is computed over the whole catalog in closed form."""
    learning_rate: Positive = 0.002
    """Step size of AdamW."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay of the blocks; of a trained baseline, of all its matrices."""
    embedding_weight_decay: Annotated[NonNegative, ReadBy("ld4mrec")] = 0.0
    """Decoupled weight decay of the encoder's and decoder's item embeddings W_e and W_d."""
    grad_clip: NonNegative = 0.0
    """Gradient norm at which gradients are clipped; 0 never clips."""
    ema_decay: Annotated[Fraction, Switch("averaging", 0.0)] = 0.99
    """Decay of the moving average of the weights, per step; 0 switches averaging off."""
    max_epochs: Annotated[Count, MAY_CHANGE_ON_RESUME, NOT_SEARCHED] = 200
    """Upper bound on the epochs."""
    patience: Annotated[Count, MAY_CHANGE_ON_RESUME] = 20
    """Stop after this many validations without a better `metric`. Those do not count after which
    C-Net is better than ever by itself, where its share in a mixture is `auto`."""
    validate_every: Count = 1
    """Epochs between validations. Each also writes a checkpoint, unless checkpoints would take more
    than 5 % of the time."""
    validation_users: NonNegativeInt | None = None
    """Users of a validation, sampled once by the seed; 0 takes all. Unset: all while users times
    items is up to 2·10⁹, else as many as that allows, but at least 2,000."""
    metric: Annotated[str, Field(pattern=METRIC), NOT_SEARCHED] = "ndcg@20"
    """Validation metric that selects the epoch, e.g. `recall@20`."""
    precision: Literal["float32", "bf16", "auto"] = "float32"
    """`bf16` computes the matrix products of training in bfloat16 (autocast), `auto` only where the
    hardware has it."""
