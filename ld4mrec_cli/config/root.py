"""The root of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from ld4mrec_cli.config.baselines import (
    BPRConfig,
    DiffRecConfig,
    EASEConfig,
    IALSConfig,
    ItemKNNConfig,
    LightGCNConfig,
    MultVAEConfig,
    VBPRConfig,
)
from ld4mrec_cli.config.sections import (
    DataConfig,
    DiffusionConfig,
    EvaluationConfig,
    ModelConfig,
    PrepareConfig,
    TrainingConfig,
)
from ld4mrec_cli.config.types import ModelName, Preset, Section


class Config(Section):
    """All settings of ld4mrec."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """Name of the run; unset takes the dataset's name."""
    preset: Preset = "default"
    """Where unset values come from: `default` (what measures best) or `paper` (as published)."""
    model_name: ModelName = "ld4mrec"
    """What is trained: `ld4mrec` or a baseline."""
    prepare: PrepareConfig = Field(default_factory=PrepareConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = Field(default_factory=DiffusionConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    itemknn: ItemKNNConfig = Field(default_factory=ItemKNNConfig)
    ease: EASEConfig = Field(default_factory=EASEConfig)
    ials: IALSConfig = Field(default_factory=IALSConfig)
    bpr: BPRConfig = Field(default_factory=BPRConfig)
    lightgcn: LightGCNConfig = Field(default_factory=LightGCNConfig)
    vbpr: VBPRConfig = Field(default_factory=VBPRConfig)
    multvae: MultVAEConfig = Field(default_factory=MultVAEConfig)
    diffrec: DiffRecConfig = Field(default_factory=DiffRecConfig)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Config:
        if self.training.target == "destroyed" and self.diffusion.mask_rate == 0.0:
            raise ValueError(
                "training.target=destroyed needs masking: set diffusion.mask_rate above 0, or training.target=all"
            )
        if self.model.factor_scores and self.training.loss == "mse":
            raise ValueError("model.factor_scores is for training.loss=multinomial")
        smoothed = self.diffusion.soft_reconstruction and self.diffusion.soft_labels == "drawn"
        if self.training.sampled_items and (self.training.loss == "mse" or smoothed):
            raise ValueError(
                "training.sampled_items is for training.loss=multinomial with diffusion.soft_labels=expected"
            )
        return self


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Name and class of every section of the configuration."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation
