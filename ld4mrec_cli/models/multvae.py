"""MultVAE: a variational autoencoder with multinomial likelihood (Liang et al., WWW 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.base import TrainableBaseline
from ld4mrec_cli.models.multvae_settings import MultVAEConfig
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.init import init_xavier
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.transfer import ROWS_OF_ITEMS, DataAxis


class MultVAE(TrainableBaseline):
    """Encodes a row of unit length and decodes it to a distribution over the items."""

    updates: Tensor
    """Number of training steps, a scalar."""

    def __init__(self, n_items: int, settings: MultVAEConfig) -> None:
        super().__init__()
        self.settings = settings
        hidden, latent = settings.hidden_dim, settings.latent_dim
        self.encoder = nn.Parameter(torch.empty(n_items, hidden))
        self.encoder_bias = nn.Parameter(torch.zeros(hidden))
        self.to_latent = nn.Linear(hidden, 2 * latent)
        self.from_latent = nn.Linear(latent, hidden)
        self.decoder = nn.Linear(hidden, n_items)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64), persistent=False)

    @classmethod
    def build(
        cls,
        train: csr_matrix,
        settings: MultVAEConfig,
        features: Mapping[str, np.ndarray],
        seed: int,
    ) -> Self:
        """Make an untrained model; the weights are drawn from ``seed``."""
        model = cls(train.shape[1], settings)
        init_xavier(model, seed)
        return model

    def training_state(self) -> dict[str, Tensor]:
        """Number of training steps, for annealing."""
        return {"updates": self.updates}

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`TrainableBaseline`."""
        return dict.fromkeys(("encoder", "decoder.weight", "decoder.bias"), ROWS_OF_ITEMS)

    def encode(
        self, rows: SparseRows, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent variable, each ``(n, latent)``.

        Without ``generator`` there is no dropout.
        """
        length = rows.norm().clamp_min(1e-12)
        rate = self.settings.dropout
        if generator is not None and rate:
            device = rows.items.device
            mask = torch.rand(rows.items.shape, generator=generator, device=device) >= rate
            rows = replace(rows, values=rows.values * mask / (1.0 - rate))
        hidden = torch.tanh(rows.matmul(self.encoder) / length + self.encoder_bias)
        mean, log_variance = self.to_latent(hidden).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        """Scores ``(n, n_items)``."""
        scores: Tensor = self.decoder(self.decode_hidden(latent))
        return scores

    def decode_hidden(self, latent: Tensor) -> Tensor:
        """Last hidden layer ``(n, hidden)``, of which the scores are linear."""
        return torch.tanh(self.from_latent(latent))

    def loss(self, batch: SparseRows, generator: torch.Generator) -> Tensor:
        """Negative evidence lower bound with an annealed Kullback-Leibler term (eq. 7)."""
        mean, log_variance = self.encode(batch, generator)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        scores = self.decode(mean + noise * (log_variance / 2).exp()).float()
        log_total = scores.logsumexp(dim=1)
        observed = (scores[batch.row_of, batch.items] - log_total[batch.row_of]) * batch.values
        divergence = (mean.square() + log_variance.exp() - log_variance - 1.0).float()
        divergence = divergence.sum(dim=1) / 2
        weight = min(self.settings.kl_cap, self.updates.item() / self.settings.kl_anneal_steps)
        self.updates.add_(1)
        return -observed.sum() / len(batch) + weight * divergence.mean()

    @torch.inference_mode()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Decode the mean of the latent variable."""
        mean, _ = self.encode(SparseRows.from_csr(rows, self.device))
        return self.decode(mean).float()

    @torch.inference_mode()
    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """Vectors of the last hidden layer and those of the items in the decoder."""
        mean, _ = self.encode(SparseRows.from_csr(rows, self.device))
        hidden = self.decode_hidden(mean)
        return FactoredScores((hidden,), (self.decoder.weight,), self.decoder.bias)
