"""DiffRec: Gaussian diffusion over interaction rows with multi-step inference (Wang et al., SIGIR 2023)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.base import TrainableRecommender
from ld4mrec_cli.models.diffrec_settings import DiffRecConfig
from ld4mrec_cli.models.ld4mrec.cnet import drop
from ld4mrec_cli.models.ld4mrec.diffusion import StepSampler
from ld4mrec_cli.models.ops.init import init_xavier
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.sparse_rows import SparseRows


class DiffRec(TrainableRecommender):
    """Predicts the clean row from a noisy one; rows are dense, but only a batch of them at a time."""

    frequencies: Tensor

    def __init__(self, n_items: int, settings: DiffRecConfig) -> None:
        super().__init__()
        self.settings = settings
        self.schedule = LinearSchedule(
            settings.steps, settings.noise_scale, settings.noise_min, settings.noise_max
        )
        self.sampler = StepSampler(settings.steps, importance=True)
        half = settings.time_dim // 2
        frequencies = torch.exp(
            -math.log(10_000.0) * torch.arange(half, dtype=torch.float64) / half
        )
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.time = nn.Linear(settings.time_dim, settings.time_dim)
        widths = [
            n_items + settings.time_dim,
            *reversed(settings.hidden_dims),
            *settings.hidden_dims[1:],
            n_items,
        ]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    @classmethod
    def build(
        cls,
        train: csr_matrix,
        settings: DiffRecConfig,
        features: Mapping[str, np.ndarray],
        seed: int,
    ) -> Self:
        """Make an untrained model; the weights are drawn from ``seed``."""
        model = cls(train.shape[1], settings)
        init_xavier(model, seed)
        return model

    def training_state(self) -> dict[str, Tensor]:
        """The losses that importance sampling remembers."""
        return dict(self.sampler.named_buffers())

    def predict(self, x: Tensor, t: Tensor, rng: BatchRNG | None = None) -> Tensor:
        """The clean rows ``(n, n_items)`` predicted from ``x`` at steps ``t`` ``(n,)``; dropout with rng."""
        angles = t.unsqueeze(1).float() * self.frequencies
        time = self.time(torch.cat([angles.cos(), angles.sin()], dim=1))
        h = torch.cat([drop(x, self.settings.dropout, rng), time], dim=1)
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        scores: Tensor = self.layers[-1](h)
        return scores

    def loss(self, batch: SparseRows, generator: torch.Generator) -> Tensor:
        """Squared error of the predicted rows over steps drawn by importance (eq. 14)."""
        step, importance = self.sampler.sample(len(batch), generator)
        t, x_0 = step + 1, batch.dense()
        noise = torch.randn(x_0.shape, generator=generator, device=x_0.device)
        x_t = (
            self.schedule.signal(t).unsqueeze(1) * x_0 + self.schedule.noise(t).unsqueeze(1) * noise
        )
        losses = (
            (self.predict(x_t, t, BatchRNG(generator, len(batch))).float() - x_0)
            .square()
            .mean(dim=1)
        )
        if self.settings.reweight:
            losses = losses * self.schedule.snr_drop[t]
        self.sampler.update(step, losses)
        return (losses * importance).mean()

    @torch.inference_mode()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Run the reverse chain of T steps, from the row or from one corrupted ``sampling_steps`` times."""
        x = SparseRows.from_csr(rows, self.device).dense()
        if self.settings.sampling_steps:
            generator = torch.Generator(self.device).manual_seed(0)
            noise = torch.randn(
                1, x.shape[1], generator=generator, device=x.device
            )  # shared: no row's place matters
            start = torch.tensor([self.settings.sampling_steps], device=x.device)
            x = self.schedule.signal(start) * x + self.schedule.noise(start) * noise
        for step in range(self.settings.steps, 0, -1):
            t = torch.full((len(x),), step, dtype=torch.int64, device=x.device)
            x = self.schedule.posterior_mean(x, self.predict(x, t).float(), step)
        return x
