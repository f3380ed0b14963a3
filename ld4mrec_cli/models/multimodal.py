"""What FREEDOM, BM3, MGCN and GUME share: vectors of users and items, features by modality."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.batches import Pairs
from ld4mrec_cli.models.ops.contrast import contrastive_loss
from ld4mrec_cli.models.ops.fusion import BehaviorAwareFuser, BehaviorGate
from ld4mrec_cli.models.ops.graphs import SparseOperator, normalize_graph
from ld4mrec_cli.models.ops.init import init_xavier
from ld4mrec_cli.models.ops.item_graphs import content_features, similarity_graph
from ld4mrec_cli.models.pairwise import PairwiseRecommender
from ld4mrec_cli.models.transfer import ROWS_OF_ITEMS, ROWS_OF_USERS, DataAxis, signal


class MultimodalRecommender(PairwiseRecommender):
    """Scores are inner products of vectors that a graph and the item features shape.

    Features are constant input: standardized, rows of length 1, zero rows without content.
    """

    item_bias: Tensor

    def __init__(self, train: csr_matrix, features: Mapping[str, np.ndarray], factors: int) -> None:
        """Make the vectors.

        Args:
            train: ``(n_users, n_items)`` with sorted indices.
            features: modality → item features ``(n_items, dim)``, at least one.
            factors: length of the vectors.
        """
        super().__init__(train, regularization=0.0)
        self.factors = factors
        self.users = nn.Parameter(torch.empty(self.n_users, factors))
        self.items = nn.Parameter(torch.empty(self.n_items, factors))
        self.register_buffer("item_bias", torch.zeros(self.n_items), persistent=False)
        self.modalities = tuple(features)
        for position, values in enumerate(features.values()):
            content = torch.from_numpy(content_features(values))
            self.register_buffer(f"content_{position}", content, persistent=False)

    @classmethod
    def build(
        cls, train: csr_matrix, settings: Any, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Make an untrained model of its own ``settings``; ``seed`` draws the weights."""
        model = cls(train, features, settings)
        init_xavier(model, seed)
        return model

    @property
    def content(self) -> tuple[Tensor, ...]:
        """Features ``(n_items, dim)`` of each modality, in the order of ``modalities``."""
        return tuple(self.get_buffer(f"content_{n}") for n in range(len(self.modalities)))

    feature_layer = "projection.{}.weight"
    """Name of the weights that are applied to the features of a modality, by its position."""

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`ld4mrec_cli.models.base.TrainableRecommender`."""
        layers = {
            self.feature_layer.format(position): DataAxis(1, (signal(name),))
            for position, name in enumerate(self.modalities)
        }
        return {"users": ROWS_OF_USERS, "items": ROWS_OF_ITEMS, **layers}

    def signals(self) -> Mapping[str, Tensor]:
        """See :class:`ld4mrec_cli.models.base.TrainableRecommender`."""
        return dict(zip(self.modalities, self.content, strict=True))

    def projections(self) -> nn.ModuleList:
        """New linear maps of the features of each modality to vectors."""
        return nn.ModuleList(nn.Linear(part.shape[1], self.factors) for part in self.content)

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """Mean loss of a batch, see :meth:`training_loss`."""
        self._served = None
        return self.training_loss(batch, generator)

    @abstractmethod
    def training_loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """The loss of the paper for observed interactions, a scalar."""

    def split(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Users' and items' rows of ``vectors`` ``(n_users + n_items, d)``."""
        return vectors[: self.n_users], vectors[self.n_users :]


class MultiViewRecommender(MultimodalRecommender):
    """Behavior vectors plus side vectors: a view for each modality, fused.

    The views are those of MGCN; GUME has them, too.
    """

    feature_layer = "gates.{}.project.weight"

    def __init__(
        self,
        train: csr_matrix,
        features: Mapping[str, np.ndarray],
        factors: int,
        *,
        adjacency: csr_matrix,
        neighbors: int,
        layers: int,
        item_layers: int,
    ) -> None:
        """See :class:`MultimodalRecommender`.

        Args:
            train: ``(n_users, n_items)`` with sorted indices.
            features: modality → item features ``(n_items, dim)``, at least one.
            factors: length of the vectors.
            adjacency: graph ``(n_users + n_items, n_users + n_items)``.
            neighbors: nearest items in each modality, the item itself included.
            layers: graph convolutions over ``adjacency``.
            item_layers: graph convolutions over the graph of similar items of each modality.
        """
        super().__init__(train, features, factors)
        self.layers, self.item_layers = layers, item_layers
        graph = normalize_graph(adjacency)
        self.graph = SparseOperator(graph)
        self.to_users = SparseOperator(graph[: self.n_users, self.n_users :])
        self.item_graphs = nn.ModuleList(
            SparseOperator(similarity_graph(values, neighbors)) for values in features.values()
        )
        self.gates = nn.ModuleList(BehaviorGate(part.shape[1], factors) for part in self.content)
        self.fuser = BehaviorAwareFuser(len(features), factors)

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of behavior and side vectors; see :class:`PairwiseRecommender`."""
        behavior = self.behavior()
        vectors = behavior + self.fuser(self.modality_views(), behavior)
        return *self.split(vectors), self.item_bias

    def behavior(self) -> Tensor:
        """Vectors ``(n_users + n_items, d)`` by LightGCN, without content."""
        return self.propagate(self.users, self.items)

    def propagate(self, users: Tensor, items: Tensor) -> Tensor:
        """Average over the layers ``(n_users + n_items, d)`` from the vectors of both."""
        return self.graph.average_layers(torch.cat([users, items]), self.layers)

    def modality_views(self) -> list[Tensor]:
        """Vectors ``(n_users + n_items, d)`` of each modality.

        The content gates the items' vectors, which similar items, then users aggregate.
        """
        views = []
        for content, gate, graph in zip(self.content, self.gates, self.item_graphs, strict=True):
            assert isinstance(graph, SparseOperator)
            items = graph.repeat(gate(self.items, content), self.item_layers)
            views.append(torch.cat([self.to_users(items), items]))
        return views

    def rows_of(self, batch: Pairs, others: Tensor) -> Tensor:
        """Rows ``(3 n,)`` of the users, items and negative items of a batch."""
        return torch.cat([batch.users, batch.items + self.n_users, others + self.n_users])

    def fuse(
        self, behavior: Tensor, views: Sequence[Tensor], rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Behavior and side vectors ``(m, d)`` of ``rows`` ``(m,)``; a row needs no other."""
        chosen = behavior[rows]
        return chosen, self.fuser([view[rows] for view in views], chosen)

    def contrast(self, side: Tensor, behavior: Tensor, temperature: float) -> Tensor:
        """Contrastive loss of side and behavior vectors of a batch, of users plus of items.

        Both are ``(3 n, d)`` in the order of :meth:`rows_of`.
        """
        users, items = (
            contrastive_loss(view, other, temperature)
            for view, other in zip(side.chunk(3)[:2], behavior.chunk(3)[:2], strict=True)
        )
        return users + items
