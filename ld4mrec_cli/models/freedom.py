"""FREEDOM: freezing and denoising graph structures (Zhou & Shen, MM 2023, arXiv 2211.06924)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.batches import PairBatches, Pairs
from ld4mrec_cli.models.freedom_settings import FREEDOMConfig
from ld4mrec_cli.models.multimodal import MultimodalRecommender
from ld4mrec_cli.models.ops.contrast import masked_mean, ranking_loss
from ld4mrec_cli.models.ops.graphs import SparseOperator, user_item_operator
from ld4mrec_cli.models.ops.item_bases import inverse_sqrt
from ld4mrec_cli.models.ops.item_graphs import frozen_graph

IMAGE, IMAGE_WEIGHT = "image", 0.1


class FREEDOM(MultimodalRecommender):
    """LightGCN on a graph that is pruned anew in every epoch, plus a constant item graph."""

    def __init__(
        self, train: csr_matrix, features: Mapping[str, np.ndarray], settings: FREEDOMConfig
    ) -> None:
        """See :class:`MultimodalRecommender`."""
        super().__init__(train, features, settings.factors)
        self.settings = settings
        weights = settings.modality_weights or default_weights(self.modalities)
        self.item_graph = SparseOperator(frozen_graph(features, settings.neighbors, weights))
        self.graph = user_item_operator(train)
        self.pruned = self.graph
        """The graph of the present epoch; without one, the whole."""
        self.projection = self.projections()

    def batches(self, train: csr_matrix, batch_size: int) -> PairBatches:
        """Observed interactions; each epoch prunes the graph first."""

        def prune(rng: np.random.Generator) -> None:
            if self.settings.edge_dropout:
                kept = prune_edges(train, self.settings.edge_dropout, rng)
                self.pruned = user_item_operator(kept).to(self.device)

        return PruningBatches(train, batch_size, prune)

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors on the whole graph; see :class:`PairwiseRecommender`."""
        return *self._propagate(self.graph), self.item_bias

    def _propagate(self, graph: SparseOperator) -> tuple[Tensor, Tensor]:
        """User and item vectors."""
        vectors = graph.average_layers(torch.cat([self.users, self.items]), self.settings.layers)
        users, items = self.split(vectors)
        return users, items + self.item_graph.repeat(self.items, self.settings.item_layers)

    def training_loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """Ranking losses of the vectors and of the projected features.

        Pairs of which an item has no content do not count in the loss of that modality.
        """
        positive, negative = batch.items, self.negatives(batch.users, generator)
        users, items = self._propagate(self.pruned)
        chosen = users[batch.users]
        loss = ranking_loss(chosen, items[positive], items[negative]).mean()
        for content, project in zip(self.content, self.projection, strict=True):
            observed, other = content[positive], content[negative]
            losses = ranking_loss(chosen, project(observed), project(other))
            is_known = observed.any(dim=1) & other.any(dim=1)
            loss = loss + self.settings.modality_loss * masked_mean(losses, is_known)
        return loss


class PruningBatches(PairBatches):
    """Batches of observed interactions; ``prune`` is called first in every epoch."""

    def __init__(
        self, train: csr_matrix, batch_size: int, prune: Callable[[np.random.Generator], None]
    ) -> None:
        """``prune`` draws from the generator of the epoch."""
        super().__init__(train, batch_size)
        self._prune = prune

    def epoch(self, rng: np.random.Generator, device: torch.device) -> Iterator[Pairs]:
        """See :class:`Batches`."""
        self._prune(rng)
        return super().epoch(rng, device)


def prune_edges(train: csr_matrix, share: float, rng: np.random.Generator) -> csr_matrix:
    """Leave out a ``share`` of the interactions ``train`` ``(n_users, n_items)``.

    Degree-sensitive edge pruning: edges are kept without replacement, with probabilities
    in proportion to ``1/√(d_u d_i)``. The smallest exponential variates of these rates are such a
    sample (Efraimidis & Spirakis 2006).
    """
    user_degree, item_degree = (np.asarray(train.sum(axis=axis)).ravel() for axis in (1, 0))
    row_of = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    rate = inverse_sqrt(user_degree)[row_of] * inverse_sqrt(item_degree)[train.indices]
    n_kept = max(1, round(train.nnz * (1.0 - share)))
    kept = np.argsort(rng.standard_exponential(train.nnz) / rate, kind="stable")[:n_kept]
    where = (row_of[kept], train.indices[kept])
    return csr_matrix((np.ones(len(kept), dtype=np.float32), where), shape=train.shape)


def default_weights(modalities: Sequence[str]) -> dict[str, float]:
    """Weights α by modality as published: images 0.1, the others the rest in equal parts."""
    others = [name for name in modalities if name != IMAGE]
    if len(others) == len(modalities) or not others:
        return dict.fromkeys(modalities, 1.0 / len(modalities))
    return {IMAGE: IMAGE_WEIGHT, **dict.fromkeys(others, (1.0 - IMAGE_WEIGHT) / len(others))}
