"""A plain LD4MRec for comparison: rows, masks and labels are dense float32 matrices.

It is the same model with the same settings and the same number of parameters.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from ld4mrec_cli.config import Config
from ld4mrec_cli.models.ld4mrec.build import log_popularity
from ld4mrec_cli.models.ld4mrec.row_weights import mean_row_weight
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals


class Block(nn.Module):
    """A residual block with a condition."""

    def __init__(self, dim: int, condition: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.widen, self.narrow = nn.Linear(dim + condition, width), nn.Linear(width, dim)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        inner = F.silu(self.widen(torch.cat([self.norm(h), condition], dim=1)))
        return h + self.narrow(self.dropout(inner))


class DenseLD4MRec(nn.Module):
    """C-Net over dense rows; multinomial loss of masked behaviors with drawn soft labels."""

    def __init__(self, config: Config, signals: ItemSignals, train: csr_matrix) -> None:
        super().__init__()
        model, n_items = config.model, len(signals.degree)
        self.mask_rate, self.exponent = (
            config.diffusion.mask_rate,
            config.training.row_weight_exponent,
        )
        self.mean_weight = mean_row_weight(np.diff(train.indptr), self.mask_rate, self.exponent)
        self.probability, self.intensity = (
            config.diffusion.soft_probability,
            config.diffusion.smoothing_intensity,
        )
        bases = [
            torch.from_numpy(np.asarray(basis, dtype=np.float32))
            for basis in signals.bases.values()
        ]
        self.n_signals = len(bases)
        scale = (
            torch.from_numpy(1.0 / np.sqrt(np.maximum(signals.degree, 1.0))).float().unsqueeze(1)
        )
        for k, basis in enumerate(bases):
            self.register_buffer(f"basis_{k}", basis)
            self.register_buffer(f"scaled_{k}", basis * scale)
        dim, width = model.hidden_dim, round(model.hidden_dim * model.expansion)
        self.encoder, self.decoder = nn.Linear(n_items, dim), nn.Linear(dim, n_items)
        self.dropout = nn.Dropout(model.dropout)
        self.t_in = nn.Parameter(torch.zeros(model.time_dim))
        self.bd = nn.ModuleList(
            Block(dim, model.time_dim, width, model.dropout) for _ in range(model.bd_blocks)
        )
        joined = sum(basis.shape[1] for basis in bases)
        self.bg = nn.ModuleList(
            Block(dim, joined, width, model.dropout) for _ in range(model.bg_blocks)
        )
        self.queries = nn.ModuleList(nn.Linear(dim, basis.shape[1], bias=False) for basis in bases)
        self.scales = nn.Parameter(torch.ones(len(bases)))
        with torch.no_grad():
            self.decoder.weight.mul_(0.1)
            self.decoder.bias.copy_(log_popularity(signals.degree))

    def forward(self, x: Tensor) -> Tensor:
        guides = [F.normalize(x @ getattr(self, f"scaled_{k}")) for k in range(self.n_signals)]
        h = self.dropout(self.encoder(F.normalize(x)))
        for block in self.bd:
            h = block(h, self.t_in.expand(len(h), -1))
        for block in self.bg:
            h = block(h, torch.cat(guides, dim=1))
        h = self.dropout(h)
        scores = self.decoder(h)
        for k, (query, guide) in enumerate(zip(self.queries, guides, strict=True)):
            scores = scores + (query(h) + self.scales[k] * guide) @ getattr(self, f"basis_{k}").T
        return scores

    def loss(self, clean: Tensor) -> Tensor:
        unmasked = clean * (torch.rand_like(clean) >= self.mask_rate)
        masked = clean - unmasked
        scores = self(unmasked).masked_fill(unmasked > 0, -torch.inf)
        is_smoothed = torch.rand_like(clean) < self.probability
        labels = torch.where(is_smoothed, masked + self.intensity * (1.0 - 2.0 * masked), masked)
        labels = labels * (unmasked == 0)
        labels = labels / labels.sum(dim=1, keepdim=True).clamp_min(1e-12)
        losses = -(labels * F.log_softmax(scores, dim=1).masked_fill(unmasked > 0, 0.0)).sum(dim=1)
        n_targets = masked.sum(dim=1)
        weights = n_targets**self.exponent / self.mean_weight * (n_targets > 0)
        return (losses * weights).sum() / (n_targets > 0).sum()


class DenseTraining:
    """Epochs of the dense form, with AdamW and a moving average of the weights."""

    def __init__(self, config: Config, signals: ItemSignals, train: csr_matrix) -> None:
        torch.manual_seed(0)
        self.model = DenseLD4MRec(config, signals, train)
        self.train, self.size, self.decay = (
            train,
            config.training.batch_size,
            config.training.ema_decay,
        )
        self.users = np.flatnonzero(np.diff(train.indptr))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.training.learning_rate,
            weight_decay=config.training.weight_decay,
        )
        self.average = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.rng = np.random.default_rng(0)

    def epoch(self) -> None:
        users = self.rng.permutation(self.users)
        for start in range(0, len(users), self.size):
            batch = torch.from_numpy(self.train[users[start : start + self.size]].toarray())
            self.optimizer.zero_grad()
            self.model.loss(batch).backward()
            self.optimizer.step()
            with torch.no_grad():
                for average, parameter in zip(self.average, self.model.parameters(), strict=True):
                    average.mul_(self.decay).add_(parameter, alpha=1.0 - self.decay)
