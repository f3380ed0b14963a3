"""A head of C-Net for items without interactions: it learns which content suits which row.

W_d has a row for each known item, so what C-Net predicts of a new item must come from its content.
The head has two towers: a vector of C-Net's hidden state, and a vector of the content of an item.
It is trained on the content of the known items, with C-Net as it is, by the softmax of masked
behaviors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from ld4mrec_cli.models.batches import RowBatches
from ld4mrec_cli.models.ld4mrec.sampled_softmax import CandidateSampler, reindex
from ld4mrec_cli.models.ld4mrec.softmax_loss import multinomial
from ld4mrec_cli.models.ops.rng import BatchRNG, dropout
from ld4mrec_cli.models.ops.sparse_rows import SparseRows, l2_normalize

DIM = 128
"""Length of the vectors."""
WIDTH = 256
"""Hidden units of the nonlinear part of the content tower."""
TEMPERATURE = 0.15
"""Divides the cosines, which are the scores."""
DROPOUT = 0.3
MASK_RATE = 0.5
N_SAMPLED = 1024
"""Items in the softmax beside the targets of the batch."""
BATCH_SIZE = 512
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.03
STEPS = 300
"""Batches that it is trained on, at most: time does not grow with the data."""
MAX_EPOCHS = 50
"""Passes over small data, which it would learn by heart."""

QueryRows = Callable[[SparseRows], Tensor]
"""Gives the queries ``(n, q)`` of rows."""


class ContentHead(nn.Module):
    """Probability of an item by its content, for a row."""

    known: Tensor
    """Vectors of the known items that it was trained on ``(n_known, DIM)``."""

    def __init__(self, query_dim: int, content_dim: int, n_known: int) -> None:
        super().__init__()
        self.query_map = nn.Linear(query_dim, DIM)
        self.content_map = nn.Linear(content_dim, DIM, bias=False)
        self.widen = nn.Linear(content_dim, WIDTH)
        self.narrow = nn.Linear(WIDTH, DIM)
        self.bias = nn.Parameter(torch.zeros(n_known))
        """Popularity of the known items, so that the content need not tell it."""
        self.register_buffer("known", torch.zeros(n_known, DIM))

    @torch.no_grad()
    def reset(self, generator: torch.Generator, degree: Tensor) -> None:
        """Draw the initial weights; the bias starts at the log of ``degree`` ``(n_known,)``."""
        for layer in (self.query_map, self.content_map, self.widen, self.narrow):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.bias.copy_(degree.log() - degree.log().mean())

    def embed_queries(self, queries: Tensor) -> Tensor:
        """Vectors of rows ``(n, DIM)`` of length 1, from their queries ``(n, q)``."""
        return l2_normalize(self.query_map(queries))

    def embed_content(self, content: Tensor, rng: BatchRNG | None = None) -> Tensor:
        """Vectors of items ``(m, DIM)`` of length 1; ``rng`` draws the dropout masks."""
        hidden = F.gelu(self.widen(content))
        inner = self.narrow(dropout(hidden, DROPOUT, rng))
        return l2_normalize(self.content_map(dropout(content, DROPOUT, rng)) + inner)

    def log_probabilities(self, queries: Tensor, new: Tensor) -> Tensor:
        """Log of each new item's probability relative to the known items, ``(n, n_new)``.

        A new item has the mean popularity.

        Args:
            queries: of n rows ``(n, q)``.
            new: vectors of the new items ``(n_new, DIM)``.
        """
        rows = self.embed_queries(queries) / TEMPERATURE
        total = torch.addmm(self.bias, rows, self.known.T).logsumexp(dim=1, keepdim=True)
        return rows @ new.T + self.bias.mean() - total

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All weights by name."""
        return {name: value.cpu().numpy() for name, value in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore from :meth:`to_arrays`.

        Raises:
            KeyError: an array is missing.
            RuntimeError: the arrays do not fit together.
        """
        query_dim, content_dim = (arrays[f"{n}_map.weight"].shape[1] for n in ("query", "content"))
        head = cls(query_dim, content_dim, len(arrays["bias"]))
        head.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
        return head.eval()


def fit_content_head(
    query: QueryRows, train: csr_matrix, content: np.ndarray, device: torch.device, seed: int
) -> ContentHead | None:
    """Train a head on the known items that have content and interactions.

    Args:
        query: C-Net's state for rows, without gradients.
        train: interactions ``(n_users, n_items)``.
        content: of the items ``(n_items, dim)``, rows of zeros for items without content.
        device: where ``query`` takes its rows.
        seed: of the weights, the batches and the masks.

    Returns:
        The head; None where there is nothing to learn from.
    """
    degree = train.getnnz(axis=0)
    is_used = (degree > 0) & content.any(axis=1)
    rows = csr_matrix(train[np.diff(train.indptr) > 1])
    if is_used.sum() < 2 or not rows[:, is_used].nnz:
        return None
    known = torch.from_numpy(content[is_used].astype(np.float32)).to(device)
    first = query(SparseRows.from_csr(rows[:1], device))
    head = ContentHead(first.shape[1], known.shape[1], len(known))
    generator = torch.Generator().manual_seed(seed)
    head.reset(generator, torch.from_numpy(degree[is_used].astype(np.float32)))
    head.to(device).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    task = _Task(
        query,
        known,
        torch.from_numpy(np.where(is_used, np.cumsum(is_used) - 1, -1)).to(device),
        CandidateSampler(N_SAMPLED, degree[is_used], rows.shape[0]),
        torch.Generator(device).manual_seed(seed),
    )
    batches, rng = RowBatches(rows, BATCH_SIZE), np.random.default_rng(seed)
    epochs = (batches.epoch(rng, device) for _ in count())
    for batch in islice(chain.from_iterable(epochs), min(STEPS, MAX_EPOCHS * len(batches))):
        loss = task.loss(head, batch)
        if loss is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    head.eval()
    with torch.no_grad():
        head.known.copy_(head.embed_content(known))
    return head


@dataclass(frozen=True)
class _Task:
    """What a head is trained on."""

    query: QueryRows
    known: Tensor
    """Content of the items that are predicted ``(n_known, dim)``."""
    position: Tensor
    """Place of each item of the catalog among them ``(n_items,)``, or -1."""
    sampler: CandidateSampler
    generator: torch.Generator

    def loss(self, head: ContentHead, batch: SparseRows) -> Tensor | None:
        """Mean loss of the masked behaviors of a batch; None where there are none."""
        draws = torch.rand(len(batch.items), generator=self.generator, device=batch.items.device)
        is_masked = draws < MASK_RATE
        targets = self._among_known(batch.filter(is_masked))
        mass = targets.sum_by_row(targets.values)
        if not len(targets.items):
            return None
        unmasked = batch.filter(~is_masked)
        candidates = self.sampler.sample(targets, self.generator, MASK_RATE)
        rng = BatchRNG(self.generator, len(candidates.items))
        vectors = head.embed_content(self.known[candidates.items], rng)
        losses = multinomial(
            head.embed_queries(self.query(unmasked)) @ vectors.T / TEMPERATURE,
            reindex(targets, candidates.items),
            candidates.select(self._among_known(unmasked)),
            smoothing=0.0,
            log_inclusion=candidates.log_inclusion,
            bias=head.bias[candidates.items],
        )
        return (losses * mass).sum() / mass.sum()

    def _among_known(self, rows: SparseRows) -> SparseRows:
        """The behaviors with known content, over these items."""
        kept = rows.filter(self.position[rows.items] >= 0)
        return replace(kept, items=self.position[kept.items], n_items=len(self.known))
