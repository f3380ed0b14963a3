"""The root of the configuration: shared sections, and one or two for each model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, create_model, model_validator

from ld4mrec_cli.models.ld4mrec.settings import DiffusionConfig, ModelConfig
from ld4mrec_cli.models.specs import MODELS, ModelSpec, model_sections
from ld4mrec_cli.settings.base import Preset, Section
from ld4mrec_cli.settings.data import DataConfig, PrepareConfig
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.utils.errors import nearest


def _check_model(name: str) -> str:
    if name not in MODELS:
        raise ValueError(f"unknown model '{name}'. {nearest(name, MODELS)}")
    return name


class BaseConfig(Section):
    """What the configuration holds besides the sections of the baselines."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] | None = (
        None
    )
    """Name of the run; unset takes the dataset's name."""
    preset: Preset = "default"
    """Where unset values come from: `default` (best measured) or `paper` (as published)."""
    model_name: Annotated[str, AfterValidator(_check_model)] = "ld4mrec"
    """Model to train: `ld4mrec` or a baseline."""
    prepare: PrepareConfig = Field(default_factory=PrepareConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = Field(default_factory=DiffusionConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

    @property
    def spec(self) -> ModelSpec:
        """The model that is trained."""
        return MODELS[self.model_name]

    @property
    def model_settings(self) -> Any:
        """The section of the baseline that is trained; None where it has no settings."""
        return getattr(self, self.model_name, None)

    @model_validator(mode="after")
    def _check_metric(self) -> BaseConfig:
        from ld4mrec_cli.evaluation.metrics import ACCURACY  # imports numpy

        name = self.training.metric.partition("@")[0]
        if name not in ACCURACY:
            raise ValueError(f"training.metric: unknown metric '{name}'. {nearest(name, ACCURACY)}")
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> BaseConfig:
        if self.training.target == "masked" and self.diffusion.mask_rate == 0.0:
            raise ValueError(
                "training.target=masked needs masking: "
                "set diffusion.mask_rate above 0, or training.target=all"
            )
        if self.model.ials is True and self.training.loss != "multinomial":
            raise ValueError("model.ials needs training.loss=multinomial")
        drawn = self.diffusion.soft_reconstruction and self.diffusion.soft_labels == "drawn"
        if self.training.sampled_items and (self.training.loss != "multinomial" or drawn):
            raise ValueError(
                "training.sampled_items needs training.loss=multinomial "
                "and diffusion.soft_labels=expected"
            )
        return self


if TYPE_CHECKING:

    class Config(BaseConfig):
        """All settings of ld4mrec."""

else:
    Config = create_model(
        "Config",
        __base__=BaseConfig,
        __module__=__name__,
        __doc__="All settings of ld4mrec.",
        **{
            name: (section, Field(default_factory=section))
            for name, section in model_sections().items()
            if name not in BaseConfig.model_fields
        },
    )


def iter_sections() -> Iterator[tuple[str, type[Section]]]:
    """Name and class of every section of the configuration."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation
