"""What the trainer trains: LD4MRec, and the baselines that learn by gradient descent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.batches import Batches, RowBatches
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.utils.distributed import Group


class TrainableRecommender(nn.Module, ABC):
    """A recommender with a differentiable training objective."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def batches(self, train: csr_matrix, batch_size: int) -> Batches:
        """Training examples of ``train`` ``(n_users, n_items)``, asked for once before training.

        Rows of users unless overridden.
        """
        return RowBatches(train, batch_size)

    @abstractmethod
    def loss(self, batch: Any, generator: torch.Generator) -> Tensor:
        """Mean loss of a batch, a scalar; all randomness comes from ``generator``."""

    def sharded_loss(self, batch: Any, generator: torch.Generator, group: Group) -> Tensor:
        """What this process adds to the loss of a batch that all processes of ``group`` have, a scalar.

        The shares, and so their gradients, add up to those of :meth:`loss` with the same generator.

        Raises:
            NotImplementedError: this model is trained by one process.
        """
        raise NotImplementedError

    @abstractmethod
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` float32; see :class:`ld4mrec_cli.evaluation.ranking.Scorer`."""

    @property
    def sparse_parameters(self) -> tuple[Tensor, ...]:
        """Parameters whose gradient names the rows that a batch reached, and no others; none unless overridden."""
        return ()

    def parameter_groups(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Parameters with their weight decay, for the optimizer; biases do not decay."""
        matrices = [p for p in self.parameters() if p.ndim >= 2]
        rest = [p for p in self.parameters() if p.ndim < 2]
        return [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]

    def training_state(self) -> dict[str, Tensor]:
        """Tensors besides the parameters that training changes; a checkpoint holds them."""
        return {}

    def served_weights(self) -> dict[str, Tensor]:
        """What has to be saved to score again: the parameters by name unless overridden."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}


@torch.no_grad()
def load_parameters(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy ``tensors`` by name into the model's parameters.

    Raises:
        KeyError: a parameter is missing.
        ValueError: a parameter has another shape or dtype.
    """
    for name, parameter in model.named_parameters():
        if parameter.shape != tensors[name].shape:
            raise ValueError(
                f"'{name}' is {tuple(tensors[name].shape)} where {tuple(parameter.shape)} is needed"
            )
        if parameter.dtype != tensors[name].dtype:
            raise ValueError(f"'{name}' is {tensors[name].dtype} where {parameter.dtype} is needed")
        parameter.copy_(tensors[name])
