"""Interfaces of the models: closed-form ones, and those that are trained by gradient descent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.batches import Batches, RowBatches
from ld4mrec_cli.models.ops.content_neighbors import average, history_content
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.history_shares import leave_one_out
from ld4mrec_cli.models.transfer import DataAxis
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.utils.distributed import Group


class Recommender(ABC):
    """Scores items for rows of interactions."""

    @abstractmethod
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` float32; see :class:`ld4mrec_cli.evaluation.ranking.Scorer`."""

    def item_similarity(self) -> Recommender:
        """A recommender whose scores of a row with one item are the similarities to that item.

        By default this model: the scores for a history of the item alone, which are an item's row
        of the weights where there is an item-item matrix. Models of item vectors give cosines.

        Raises:
            UserError: this model relates no item to another.
        """
        return self

    def inner_products(
        self, rows: csr_matrix, users: np.ndarray | None = None
    ) -> FactoredScores | None:
        """Factors of :meth:`score`; by default None: the scores are no inner products.

        It is not None where each score is the inner product of a vector of the row and one of the
        item, plus a bias of the item.
        """
        return None

    content_share: float = 0.0
    """What an item of a history adds to the score of a new item that it alone stands for, beside
    what this model learned of it. For models whose scores estimate interactions."""

    def score_new_items(
        self, rows: csr_matrix, users: np.ndarray | None, neighbors: csr_matrix
    ) -> tuple[Tensor, Tensor]:
        """Scores of known items, and of new ones by the known items that stand for them.

        By default the means of the scores, and :attr:`content_share`. Models where popularity is
        part of the scores leave it out of the means.

        Args:
            rows: interactions with the known items ``(n, n_items)``.
            users: the training users of the rows ``(n,)``, or None.
            neighbors: of :func:`ld4mrec_cli.models.ops.content_neighbors.find_content_neighbors`,
                ``(n_new, n_items)``.

        Returns:
            ``(n, n_items)`` as of :meth:`score`, and ``(n, n_new)``.
        """
        scores = self.score(rows, users)
        new = average(scores, neighbors)
        if self.content_share:
            new += self.content_share * history_content(rows, neighbors).to(new.device)
        return scores, new

    def learn_content(
        self, train: csr_matrix, content: np.ndarray, seed: int
    ) -> dict[str, np.ndarray]:
        """What this model learns of the content of its items to score new ones; by default nothing.

        Args:
            train: what the model was trained on ``(n_users, n_items)``.
            content: of its items ``(n_items, dim)``, of
                :func:`ld4mrec_cli.models.ops.content_neighbors.embed_content`.
            seed: of all random draws.

        Returns:
            Named arrays for :meth:`use_content`.
        """
        return {}

    def use_content(self, learned: Mapping[str, np.ndarray], new: np.ndarray) -> None:
        """Score new items by what was learned of content, too; by default by neighbors alone.

        Args:
            learned: of :meth:`learn_content`.
            new: content of the new items ``(n_new, dim)``.

        Raises:
            KeyError, RuntimeError: the arrays do not fit together.
        """
        return

    def history_shares(self, row: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Shares of the items of a history in the scores of some items.

        The shares of an item add up to its score. By default by leaving each item of the history
        out, see :func:`ld4mrec_cli.models.ops.history_shares.leave_one_out`. Models whose scores
        are sums over the history give the terms.

        Args:
            row: the history ``(1, n_items)``, of h items, with sorted indices.
            items: the items ``(m,)`` int64.

        Returns:
            ``(h, m)`` float32, in the order of the history.

        Raises:
            UserError: see :meth:`check_shares`.
        """
        chosen = torch.from_numpy(items)
        shares = leave_one_out(lambda rows: self.score(rows).cpu()[:, chosen], row)
        return shares.numpy()

    def check_shares(self) -> None:
        """Raise UserError if the scores do not come from a history. By default they do."""
        return

    @classmethod
    def check_catalog(cls, n_items: int, settings: Any) -> None:
        """Refuse a catalog that is too large for this model; called before anything is computed.

        By default no catalog is. ``settings``: the model's own section, or None.

        Raises:
            UserError: the memory of this machine is too small.
        """
        return


class ClosedFormRecommender(Recommender):
    """A recommender that is computed at once, without epochs."""

    note: str | None = None
    """A remark about the result of :meth:`fit` that the user should read."""

    @classmethod
    @abstractmethod
    def fit(
        cls, train: csr_matrix, settings: Any, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Fit to training interactions.

        Args:
            train: ``(n_users, n_items)``.
            settings: the model's own section; None where it has no settings.
            features: modality → item features ``(n_items, dim)``.
            seed: of all random draws.
        """

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], settings: Any) -> Self:
        """Restore from :meth:`arrays`. Raises KeyError for a missing array."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays that a run saves to score again."""


class TrainableRecommender(nn.Module, Recommender):
    """A recommender with a differentiable training objective."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def batches(self, train: csr_matrix, batch_size: int) -> Batches:
        """Training examples of ``train`` ``(n_users, n_items)``; called once before training.

        By default, rows of users.
        """
        return RowBatches(train, batch_size)

    @abstractmethod
    def loss(self, batch: Any, generator: torch.Generator) -> Tensor:
        """Mean loss of a batch, a scalar; all randomness comes from ``generator``."""

    def sharded_loss(self, batch: Any, generator: torch.Generator, group: Group) -> Tensor:
        """Part of this process in the loss of a batch, a scalar.

        All processes of ``group`` have the same batch. The parts, and so their gradients, add up to
        those of :meth:`loss` with the same generator.

        Raises:
            NotImplementedError: this model is trained by one process.
        """
        raise NotImplementedError

    @property
    def sparse_parameters(self) -> tuple[Tensor, ...]:
        """Parameters with sparse gradients; none by default."""
        return ()

    def parameter_groups(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """Parameters with their weight decay, for the optimizer; biases do not decay."""
        matrices = [p for p in self.parameters() if p.ndim >= 2]
        vectors = [p for p in self.parameters() if p.ndim < 2]
        return [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]

    def training_state(self) -> dict[str, Tensor]:
        """Tensors other than the parameters that training changes, for checkpoints."""
        return {}

    def data_axes(self) -> Mapping[str, DataAxis]:
        """The axis of users, items or features of each parameter that has one, by name.

        ``train --init`` matches them between two datasets. By default there are none.
        """
        return {}

    def signals(self) -> Mapping[str, Tensor]:
        """Item features ``(n_items, r)`` that the axes name, as the parameters are applied to them.

        By default there are none.
        """
        return {}

    @property
    def fitted_parts(self) -> tuple[str, ...]:
        """Parts of a mixture whose weight is chosen on validation."""
        return ()

    @property
    def scales(self) -> dict[str, float]:
        """Present weights of the parts of a mixture by name, for :meth:`set_scales`."""
        return {}

    @property
    def takes_trend(self) -> bool:
        """Whether the scores can be corrected for what is popular now; by default they cannot."""
        return False

    def set_trend(self, logarithms: np.ndarray | None) -> None:
        """Correct the scores by a trend, to its first power; None: no longer.

        Its power is then one of the weights of :meth:`fit_scales`.

        Args:
            logarithms: ``(n_items,)``, of :func:`ld4mrec_cli.data.trend.measure_trend`.

        Raises:
            ValueError: this model takes none.
        """
        if logarithms is not None:
            raise ValueError("this model takes no trend")

    def fit_scales(self, evaluate: Callable[[], float]) -> dict[str, float]:
        """Choose the weights of the :attr:`fitted_parts`, from those that the model has and from 1.

        Args:
            evaluate: validation value with the present weights, higher is better.

        Returns:
            The chosen weights by name of the part, for :meth:`set_scales`: those of the best value,
            of equal ones the first evaluated.
        """
        return {}

    def set_scales(self, scales: Mapping[str, float]) -> None:
        """Set the weights that :meth:`fit_scales` chose. Raises KeyError for an unknown part."""
        for name in scales:
            raise KeyError(name)

    def served_weights(self) -> dict[str, Tensor]:
        """Tensors that a run saves to score again; by default the parameters by name."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}


class TrainableBaseline(TrainableRecommender):
    """A trainable recommender that is built from the training interactions."""

    @classmethod
    @abstractmethod
    def build(
        cls, train: csr_matrix, settings: Any, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Make an untrained model; arguments as of :meth:`ClosedFormRecommender.fit`."""


@torch.no_grad()
def load_parameters(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy ``tensors`` by name into the model's parameters.

    Raises:
        KeyError: a parameter is missing.
        ValueError: a parameter has another shape or dtype.
    """
    for name, parameter in model.named_parameters():
        shape = tuple(tensors[name].shape)
        if shape != tuple(parameter.shape):
            raise ValueError(f"'{name}' is {shape} where {tuple(parameter.shape)} is needed")
        if parameter.dtype != tensors[name].dtype:
            raise ValueError(f"'{name}' is {tensors[name].dtype} where {parameter.dtype} is needed")
        parameter.copy_(tensors[name])
