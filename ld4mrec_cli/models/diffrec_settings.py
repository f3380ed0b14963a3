"""Settings of DiffRec."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ld4mrec_cli.settings.base import (
    Fraction,
    NonNegativeInt,
    Positive,
    Section,
    Steps,
    TimeWidth,
    Width,
)


class DiffRecConfig(Section):
    """DiffRec: diffusion over interaction rows, multi-step inference (Wang et al., SIGIR 2023)."""

    hidden_dims: Annotated[tuple[Width, ...], Field(min_length=1, max_length=100)] = (1000,)
    """Widths of the hidden layers in ascending order; the encoder has them in reverse."""
    time_dim: TimeWidth = 10
    """Width of the time embedding."""
    dropout: Fraction = 0.5
    """Dropout on the noisy row."""
    steps: Steps = 5
    """Diffusion steps T of the training."""
    inference_steps: Steps | None = None
    """Reverse steps of the inference; by default all T."""
    noise_scale: Positive = 0.1
    """Scale s of the noise schedule."""
    noise_min: Fraction = 0.001
    """a_min of the linear schedule."""
    noise_max: Fraction = 0.02
    """a_max of the linear schedule."""
    sampling_steps: NonNegativeInt = 0
    """Forward steps applied to the row before inference; 0 starts from the row itself."""
    reweight: bool = True
    """Weight the loss of step t by the difference of the signal-to-noise ratios at t-1 and t."""

    @model_validator(mode="after")
    def _check_schedule(self) -> DiffRecConfig:
        if self.noise_min > self.noise_max:
            raise ValueError("noise_min must not exceed noise_max")
        if not 0.0 < self.noise_scale * self.noise_max < 1.0:
            raise ValueError("noise_scale * noise_max must lie between 0 and 1")
        if self.inference_steps is not None and self.inference_steps > self.steps:
            raise ValueError("inference_steps must not exceed steps")
        if self.sampling_steps > self.steps:
            raise ValueError("sampling_steps must not exceed steps")
        return self
