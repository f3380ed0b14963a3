"""MGCN: multi-view graph convolution (Yu et al., MM 2023, arXiv 2308.03588)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.batches import Pairs
from ld4mrec_cli.models.mgcn_settings import MGCNConfig
from ld4mrec_cli.models.multimodal import MultiViewRecommender
from ld4mrec_cli.models.ops.contrast import ranking_loss
from ld4mrec_cli.models.ops.graphs import join_user_item_graph
from ld4mrec_cli.models.pairwise import half_square


class MGCN(MultiViewRecommender):
    """Purified content by item graphs, fused as behavior prefers, and contrasted with it."""

    def __init__(
        self, train: csr_matrix, features: Mapping[str, np.ndarray], settings: MGCNConfig
    ) -> None:
        """See :class:`MultiViewRecommender`."""
        super().__init__(
            train,
            features,
            settings.factors,
            adjacency=join_user_item_graph(train),
            neighbors=settings.neighbors,
            layers=settings.layers,
            item_layers=settings.item_layers,
        )
        self.settings = settings

    def training_loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """Ranking loss, contrast of side and behavior vectors, and penalty."""
        others, settings = self.negatives(batch.users, generator), self.settings
        rows = self.rows_of(batch, others)
        behavior, side = self.fuse(self.behavior(), self.modality_views(), rows)
        triple = (behavior + side).chunk(3)
        penalty = half_square(*triple) / len(batch)
        contrast = self.contrast(side, behavior, settings.temperature)
        loss = ranking_loss(*triple).mean() + settings.regularization * penalty
        return loss + settings.contrast * contrast
