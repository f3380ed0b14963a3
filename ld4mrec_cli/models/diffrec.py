"""DiffRec: Gaussian diffusion over interaction rows (Wang et al., SIGIR 2023)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.base import TrainableBaseline
from ld4mrec_cli.models.diffrec_settings import DiffRecConfig
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.init import init_xavier
from ld4mrec_cli.models.ops.rng import BatchRNG, dropout
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.ops.step_sampler import StepSampler
from ld4mrec_cli.models.ops.time_embedding import SinusoidalEmbedding
from ld4mrec_cli.models.transfer import ITEMS, ROWS_OF_ITEMS, DataAxis


class DiffRec(TrainableBaseline):
    """Predicts the clean row from a noisy one; the rows of a batch are dense."""

    def __init__(self, n_items: int, settings: DiffRecConfig) -> None:
        super().__init__()
        self.settings = settings
        self.schedule = LinearSchedule(
            settings.steps, settings.noise_scale, settings.noise_min, settings.noise_max
        )
        self.sampler = StepSampler(settings.steps, importance=True)
        self.time_embedding = SinusoidalEmbedding(settings.time_dim, cosine_first=True)
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
        """Losses stored for importance sampling."""
        return dict(self.sampler.named_buffers())

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`TrainableBaseline`."""
        last = f"layers.{len(self.layers) - 1}"
        return {
            "layers.0.weight": DataAxis(1, (ITEMS, self.settings.time_dim)),
            f"{last}.weight": ROWS_OF_ITEMS,
            f"{last}.bias": ROWS_OF_ITEMS,
        }

    def predict(self, x: Tensor, t: Tensor, rng: BatchRNG | None = None) -> Tensor:
        """Predict the clean rows from ``x`` ``(n, n_items)`` at steps ``t`` ``(n,)``.

        Without ``rng`` there is no dropout.
        """
        scores: Tensor = self.layers[-1](self.hidden(x, t, rng))
        return scores

    def hidden(self, x: Tensor, t: Tensor, rng: BatchRNG | None = None) -> Tensor:
        """Last hidden layer ``(n, dim)`` of :meth:`predict`, which is linear in it."""
        time = self.time(self.time_embedding(t))
        h = torch.cat([dropout(x, self.settings.dropout, rng), time], dim=1)
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        return h

    def loss(self, batch: SparseRows, generator: torch.Generator) -> Tensor:
        """Mean squared error of the predicted rows; steps are drawn by importance (eq. 14)."""
        step, importance = self.sampler.sample(len(batch), generator)
        t, x_0 = step + 1, batch.dense()
        noise = torch.randn(x_0.shape, generator=generator, device=x_0.device)
        signal_scale = self.schedule.signal(t).unsqueeze(1)
        noise_scale = self.schedule.noise(t).unsqueeze(1)
        x_t = signal_scale * x_0 + noise_scale * noise
        errors = self.predict(x_t, t, BatchRNG(generator, len(batch))).float() - x_0
        losses = errors.square().mean(dim=1)
        if self.settings.reweight:
            losses = losses * self.schedule.snr_drop[t]
        self.sampler.update(step, losses)
        return (losses * importance).mean()

    @torch.inference_mode()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Run the reverse chain of all or ``inference_steps`` steps.

        It starts from the row after ``sampling_steps`` forward steps.
        """
        x_1 = self._reverse_to_first_step(rows)
        return self.schedule.posterior_mean(x_1, self.predict(x_1, _steps(x_1, 1)).float(), 1)

    @torch.inference_mode()
    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """Vectors of the last hidden layer at t = 1, and those of the items after it.

        The last reverse step gives the prediction itself: the coefficient of x_1 is 0.
        """
        x_1 = self._reverse_to_first_step(rows)
        hidden = self.hidden(x_1, _steps(x_1, 1))
        output = self.layers[-1]
        assert isinstance(output, nn.Linear)
        return FactoredScores((hidden,), (output.weight,), output.bias)

    def _reverse_to_first_step(self, rows: csr_matrix) -> Tensor:
        """``x_1`` ``(n, n_items)`` of the reverse chain."""
        x = SparseRows.from_csr(rows, self.device).dense()
        if self.settings.sampling_steps:
            generator = torch.Generator(self.device).manual_seed(0)
            # One noise for all rows: the position of a row in a batch must not matter.
            noise = torch.randn(1, x.shape[1], generator=generator, device=x.device)
            start = torch.tensor([self.settings.sampling_steps], device=x.device)
            x = self.schedule.signal(start) * x + self.schedule.noise(start) * noise
        for step in range(self.settings.inference_steps or self.settings.steps, 1, -1):
            x = self.schedule.posterior_mean(x, self.predict(x, _steps(x, step)).float(), step)
        return x


def _steps(x: Tensor, step: int) -> Tensor:
    """The same step for each row of ``x``, ``(n,)`` int64."""
    return torch.full((len(x),), step, dtype=torch.int64, device=x.device)
