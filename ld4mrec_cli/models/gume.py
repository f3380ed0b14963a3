"""GUME: graphs and user modalities enhancement (Lin et al., CIKM 2024, arXiv 2407.12338)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from ld4mrec_cli.models.batches import Pairs
from ld4mrec_cli.models.gume_settings import GUMEConfig
from ld4mrec_cli.models.multimodal import MultiViewRecommender
from ld4mrec_cli.models.ops.contrast import contrastive_loss, ranking_loss
from ld4mrec_cli.models.ops.graphs import join_user_item_graph
from ld4mrec_cli.models.ops.item_graphs import common_neighbors
from ld4mrec_cli.models.pairwise import half_square
from ld4mrec_cli.models.transfer import ROWS_OF_USERS, DataAxis


class GUME(MultiViewRecommender):
    """MGCN's views on a graph with edges between items, and users' own vectors in each modality."""

    def __init__(
        self, train: csr_matrix, features: Mapping[str, np.ndarray], settings: GUMEConfig
    ) -> None:
        """See :class:`MultiViewRecommender`."""
        neighbors = common_neighbors(features, settings.neighbors)
        super().__init__(
            train,
            features,
            settings.factors,
            adjacency=join_user_item_graph(train, neighbors),
            neighbors=settings.neighbors,
            layers=settings.layers,
            item_layers=settings.item_layers,
        )
        self.settings = settings
        self.extended_users = nn.ParameterList(
            nn.Parameter(torch.empty(self.n_users, settings.factors)) for _ in features
        )

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`ld4mrec_cli.models.base.TrainableRecommender`."""
        own = (f"extended_users.{position}" for position in range(len(self.modalities)))
        return {**super().data_axes(), **dict.fromkeys(own, ROWS_OF_USERS)}

    def extended_view(self, explicit: list[Tensor]) -> Tensor:
        """Extended interest vectors ``(n_users + n_items, d)``, the mean over the modalities."""
        # Propagation is linear: the mean of its results is its result for the mean.
        users = torch.stack(list(self.extended_users)).mean(dim=0)
        items = torch.stack([view[self.n_users :] for view in explicit]).mean(dim=0)
        return self.propagate(users, items)

    def training_loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """Ranking loss, both alignments, user modality enhancement, and penalties."""
        others, settings = self.negatives(batch.users, generator), self.settings
        explicit, rows = self.modality_views(), self.rows_of(batch, others)
        behavior, side = self.fuse(self.behavior(), explicit, rows)
        triple = (behavior + side).chunk(3)
        contrast = self.contrast(side, behavior, settings.behavior_temperature)
        extended_users, extended_items = self.split(self.extended_view(explicit))
        enhanced = self.user_loss(side[: len(batch)], extended_users[batch.users], generator)
        penalty = half_square(*triple) / len(batch)
        extended_penalty = half_square(extended_items[batch.items]) / len(batch)
        return (
            ranking_loss(*triple).mean()
            + settings.modality_alignment * moment_distance(explicit)
            + settings.behavior_alignment * contrast
            + settings.user_contrast * enhanced
            + settings.regularization * penalty
            + settings.extended_regularization * extended_penalty
        )

    def user_loss(self, side: Tensor, extended: Tensor, generator: torch.Generator) -> Tensor:
        """Contrast of both vectors ``(n, d)`` of the users, and of each with itself perturbed."""
        temperature = self.settings.user_temperature
        total = contrastive_loss(extended, side, temperature)
        for vectors in (side, extended):
            views = [perturb(vectors, self.settings.perturbation, generator) for _ in range(2)]
            total = total + contrastive_loss(views[0], views[1], temperature)
        return total


def perturb(vectors: Tensor, length: float, generator: torch.Generator) -> Tensor:
    """Add noise of ``length`` to ``vectors`` ``(n, d)`` that keeps their signs (SimGCL)."""
    noise = torch.rand(vectors.shape, generator=generator, device=vectors.device)
    return vectors + vectors.sign() * F.normalize(noise, dim=1) * length


def moment_distance(views: list[Tensor]) -> Tensor:
    """Mean difference in mean and variance of all entries between two views, a scalar.

    0 for a single view.
    """
    distances = [
        (view.var() - other.var()).abs() + (view.mean() - other.mean()).abs()
        for view, other in combinations(views, 2)
    ]
    return torch.stack(distances).mean() if distances else views[0].new_zeros(())
