"""CFGAN: a generator of rows against a discriminator (Chae et al., CIKM 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ld4mrec_cli.models.base import TrainableBaseline
from ld4mrec_cli.models.cfgan_settings import CFGANConfig
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.init import init_xavier
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.specs import no_similarity
from ld4mrec_cli.models.transfer import ROWS_OF_ITEMS, DataAxis


def _make_head(dim: int, n_layers: int, n_outputs: int) -> nn.Sequential:
    """Layers after the first one, with sigmoid activations before each."""
    hidden = [layer for _ in range(n_layers - 1) for layer in (nn.Sigmoid(), nn.Linear(dim, dim))]
    return nn.Sequential(*hidden, nn.Sigmoid(), nn.Linear(dim, n_outputs))


class Generator(nn.Module):
    """Makes a row of scores from the behaviors of a user, its condition."""

    def __init__(self, n_items: int, dim: int, n_layers: int) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.empty(n_items, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.head = _make_head(dim, n_layers, n_items)

    def forward(self, condition: SparseRows) -> Tensor:
        """Scores ``(n, n_items)``, near 1 for real behaviors."""
        scores: Tensor = self.head[-1](self.hidden(condition))
        return scores

    def hidden(self, condition: SparseRows) -> Tensor:
        """Last hidden layer ``(n, dim)``, in which the scores are linear."""
        hidden: Tensor = self.head[:-1](condition.matmul(self.encoder) + self.bias)
        return hidden


class Discriminator(nn.Module):
    """Tells real rows from generated ones, given the condition."""

    def __init__(self, n_items: int, dim: int, n_layers: int) -> None:
        super().__init__()
        self.condition = nn.Parameter(torch.empty(n_items, dim))
        self.rows = nn.Parameter(torch.empty(n_items, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.head = _make_head(dim, n_layers, 1)

    def forward(self, rows: SparseRows | Tensor, condition: SparseRows) -> Tensor:
        """Logits ``(n,)`` that ``rows``, sparse or ``(n, n_items)``, are real."""
        seen = rows @ self.rows if isinstance(rows, Tensor) else rows.matmul(self.rows)
        logits: Tensor = self.head(seen + condition.matmul(self.condition) + self.bias)
        return logits.squeeze(1)


class CFGAN(TrainableBaseline):
    """The user-based form with zero reconstruction and partial masking (CFGAN_ZP)."""

    def __init__(self, n_items: int, settings: CFGANConfig) -> None:
        super().__init__()
        self.settings = settings
        self.generator = Generator(n_items, settings.generator_dim, settings.generator_layers)
        self.discriminator = Discriminator(
            n_items, settings.discriminator_dim, settings.discriminator_layers
        )

    @classmethod
    def build(
        cls,
        train: csr_matrix,
        settings: CFGANConfig,
        features: Mapping[str, np.ndarray],
        seed: int,
    ) -> Self:
        """Make an untrained model; the weights are drawn from ``seed``."""
        model = cls(train.shape[1], settings)
        init_xavier(model, seed)
        return model

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`TrainableBaseline`."""
        last = f"generator.head.{len(self.generator.head) - 1}"
        names = ("generator.encoder", "discriminator.condition", "discriminator.rows")
        return dict.fromkeys((*names, f"{last}.weight", f"{last}.bias"), ROWS_OF_ITEMS)

    def loss(self, batch: SparseRows, generator: torch.Generator) -> Tensor:
        """Losses of the discriminator (eq. 2) and the generator (eq. 3, 5), added up.

        Each has gradients of its own network alone, so both take a step on the same batch. The
        generator's is ``-log D``, not ``log(1 - D)``, as in the authors' program.
        """
        scores = self.generator(batch).float()
        is_observed = torch.zeros_like(scores, dtype=torch.bool)
        is_observed[batch.row_of, batch.items] = True
        generated = scores * (
            is_observed | self._draw(is_observed, self.settings.mask_ratio, generator)
        )
        is_zero = self._draw(is_observed, self.settings.zero_ratio, generator)
        zeros = self.settings.zero_weight * (scores.square() * is_zero).sum(dim=1).mean()
        frozen = {name: one.detach() for name, one in self.discriminator.named_parameters()}
        fooled = functional_call(self.discriminator, frozen, (generated, batch))
        real = self.discriminator(batch, batch)
        fake = self.discriminator(generated.detach(), batch)
        discriminator = F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()
        return discriminator + F.softplus(-fooled.float()).mean() + zeros + self._penalty()

    @staticmethod
    def _draw(is_observed: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
        """A share ``ratio`` of the items without interaction ``(n, n_items)`` bool."""
        draws = torch.rand(is_observed.shape, generator=generator, device=is_observed.device)
        return (draws < ratio) & ~is_observed

    def _penalty(self) -> Tensor:
        squares = [p.square().sum() for p in self.generator.parameters() if p.ndim >= 2]
        return self.settings.regularization * torch.stack(squares).sum() / 2

    @torch.inference_mode()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores of the generator."""
        scores: Tensor = self.generator(SparseRows.from_csr(rows, self.device))
        return scores.float()

    @torch.inference_mode()
    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """Vectors of the generator's last hidden layer and those of the items after it."""
        output = self.generator.head[-1]
        assert isinstance(output, nn.Linear)
        hidden = self.generator.hidden(SparseRows.from_csr(rows, self.device))
        return FactoredScores((hidden,), (output.weight,), output.bias)

    def item_similarity(self) -> NoReturn:
        """Raise UserError: a history of one item is unlike any in training."""
        raise no_similarity("cfgan")
