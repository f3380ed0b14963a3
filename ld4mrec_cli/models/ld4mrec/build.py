"""The parts of LD4MRec, made from its settings."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ld4mrec_cli.models.ld4mrec.cnet import CNet, CNetShape
from ld4mrec_cli.models.ld4mrec.diffusion import ForwardProcess, SoftReconstruction
from ld4mrec_cli.models.ld4mrec.guidance import (
    AnyItemItemWeights,
    GuidanceSignals,
    make_item_item_weights,
)
from ld4mrec_cli.models.ld4mrec.losses import LOSSES
from ld4mrec_cli.models.ld4mrec.mixture import IALSScores, Mixture
from ld4mrec_cli.models.ld4mrec.settings import DiffusionConfig, ModelConfig
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals, ials_config
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.step_sampler import StepSampler

AUTO = "auto"


def make_forward_process(config: DiffusionConfig) -> ForwardProcess:
    """Masking and Gaussian noise."""
    schedule = LinearSchedule(config.steps, config.noise_scale, config.noise_min, config.noise_max)
    return ForwardProcess(schedule, config.mask_rate)


def make_step_sampler(config: DiffusionConfig, schedule: LinearSchedule) -> StepSampler:
    """Sampler of t = 0 … T; of t = 0 alone without Gaussian noise."""
    n_steps = config.steps + 1 if schedule.is_noisy else 1
    return StepSampler(n_steps, config.importance_sampling)


def make_soft_reconstruction(config: DiffusionConfig) -> SoftReconstruction:
    """Soft labels; with probability 0 where they are switched off."""
    probability = config.soft_probability if config.soft_reconstruction else 0.0
    is_drawn = config.soft_labels == "drawn"
    return SoftReconstruction(probability, config.smoothing_intensity, is_drawn)


def make_cnet(config: ModelConfig, signals: ItemSignals, *, with_ease: bool) -> CNet:
    """C-Net, not yet initialized; ``with_ease`` adds the EASE weights with a learned scale.

    Raises:
        ValueError: ``model.guidance`` names a signal that does not exist.
    """
    names = tuple(signals.bases)
    guidance = names if config.guidance is None else tuple(config.guidance)
    for name in guidance:
        if name not in names:
            raise ValueError(
                f"model.guidance names '{name}', but the signals are {', '.join(names)}"
            )
    shape = CNetShape(
        n_items=len(signals.degree),
        hidden_dim=config.hidden_dim,
        bd_blocks=config.bd_blocks,
        bg_blocks=config.bg_blocks,
        expansion=config.expansion,
        time_dim=config.time_dim,
        dropout=config.dropout,
        guidance=guidance,
        item_side=config.item_side,
    )
    ease = _make_ease(config, signals) if with_ease else None
    return CNet(shape, GuidanceSignals(signals.bases, signals.degree), ease)


def make_mixture(config: ModelConfig, signals: ItemSignals, *, with_ease: bool) -> Mixture:
    """The estimates that are mixed with the softmax at inference."""
    ials = None
    if signals.ials_items is not None:
        ials = IALSScores(signals.ials_items, ials_config(config), _initial(config.ials_scale))
    mixture = Mixture(_make_ease(config, signals) if with_ease else None, ials)
    fixed = {"ease": config.ease_scale, "ials": config.ials_scale}
    mixture.fitted = tuple(name for name in mixture.scales if fixed[name] == AUTO)
    return mixture


def _make_ease(config: ModelConfig, signals: ItemSignals) -> AnyItemItemWeights | None:
    if signals.ease_weights is None:
        return None
    return make_item_item_weights(signals.ease_weights, _initial(config.ease_scale))


def _initial(scale: float | Literal["auto"]) -> float:
    """Weight of a part of the mixture during the training."""
    return 1.0 if isinstance(scale, str) else scale


def initial_bias(config: ModelConfig, loss: str, degree: np.ndarray) -> Tensor | None:
    """Where the output bias of the items starts ``(n_items,)``; None: at zero.

    ``loss``: value of ``training.loss``.
    """
    has_bias = config.popularity_bias and LOSSES[loss].is_softmax
    return log_popularity(degree) if has_bias else None


def log_popularity(degree: np.ndarray) -> Tensor:
    """Log of the add-one smoothed share of each item in the interactions, ``(n_items,)``."""
    smoothed = torch.from_numpy(degree.astype(np.float64)) + 1.0
    return (smoothed / smoothed.sum()).log().float()
