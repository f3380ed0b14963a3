"""Losses of a batch. A loss says how scores are compared with targets, and what the scores mean.

With expected labels no label is dense: all entries without behavior have the same label, so a loss
is a reduction of the scores and a correction at the behaviors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ld4mrec_cli.models.ld4mrec.diffusion import SoftReconstruction
from ld4mrec_cli.models.ld4mrec.softmax_loss import multinomial
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.settings.training import TrainingConfig

MEDIUM_CATALOG, LARGE_CATALOG = 5_000, 20_000
"""Items above which the multinomial loss, and above which any loss, does not compute the scores of
all items by default."""
MEDIUM_SAMPLED_ITEMS, LARGE_SAMPLED_ITEMS = 1_024, 8_192
"""Items sampled per batch, beside its targets, for the multinomial loss over a medium and over a
large catalog."""


@dataclass(frozen=True)
class Targets:
    """Entries that a loss compares the scores with, over the catalog or over candidates."""

    behaviors: SparseRows
    """Behaviors to predict."""
    ignored: SparseRows | None = None
    """Behaviors that do not count, or None."""
    n_counted: Tensor | int | None = None
    """Items of the catalog that count in each row ``(n,)``; None: all that are not ignored."""
    log_inclusion: Tensor | None = None
    """Log of the inclusion probability of each candidate ``(m,)``; None: over the catalog."""

    def __getitem__(self, rows: slice) -> Targets:
        """Consecutive rows: a slice without a step."""
        return Targets(
            self.behaviors[rows],
            None if self.ignored is None else self.ignored[rows],
            self.n_counted[rows] if isinstance(self.n_counted, Tensor) else self.n_counted,
            self.log_inclusion,
        )


def _default_sampled_items(n_items: int) -> int:
    """Items sampled per batch where no setting says how many; 0: the whole catalog counts."""
    if n_items > LARGE_CATALOG:
        return LARGE_SAMPLED_ITEMS
    return MEDIUM_SAMPLED_ITEMS if n_items > MEDIUM_CATALOG else 0


class ReconstructionLoss(ABC):
    """Loss of predicting targets from scores, with the soft labels of ``soft``."""

    is_softmax: ClassVar[bool]
    """Whether the scores are logits of a distribution over the catalog.

    If so, the output bias may start at the log popularity, and EASE is mixed with the softmax at
    inference. Otherwise EASE is a learned part of the scores.
    """
    n_sampled: int = 0
    """Items sampled per batch as candidates; 0: the loss is over the whole catalog."""
    row_weight_exponent: float = 0.0
    """a of the weight n^a of a row with n targets."""

    def __init__(self, soft: SoftReconstruction) -> None:
        self.soft = soft

    @classmethod
    @abstractmethod
    def from_config(cls, config: TrainingConfig, soft: SoftReconstruction, n_items: int) -> Self:
        """The loss with the settings of ``config`` for a catalog of ``n_items``."""

    def __call__(
        self, scores: FactoredScores, ease: Tensor | None, targets: Targets, rng: BatchRNG
    ) -> Tensor:
        """Losses ``(n,)``; that of a row without targets must not count.

        Args:
            scores: output of C-Net for n rows.
            ease: learned EASE part of the scores ``(n, n_items)``, or None.
            targets: entries to predict.
            rng: draws the subset of soft labels, where it is drawn.
        """
        if not self.soft.is_drawn:
            return self.with_expected_labels(scores, ease, targets)
        dense = _add(scores.scores(), ease).float()
        is_counted = _counted_entries(dense, targets.ignored)
        labels = self.soft.labels(targets.behaviors.dense(), rng) * is_counted
        return self.with_dense_labels(dense, labels, is_counted)

    @abstractmethod
    def with_expected_labels(
        self, scores: FactoredScores, ease: Tensor | None, targets: Targets
    ) -> Tensor:
        """Losses ``(n,)`` with labels that are the expectation of the soft labels."""

    @abstractmethod
    def with_dense_labels(self, scores: Tensor, labels: Tensor, is_counted: Tensor) -> Tensor:
        """Losses ``(n,)``; all arguments are ``(n, n_items)``, labels are 0 where not counted."""

    @abstractmethod
    def reconstruct(self, scores: Tensor, n_behaviors: Tensor) -> Tensor:
        """Clean rows predicted by ``scores``, both ``(n, n_items)``.

        ``n_behaviors`` ``(n, 1)`` are the behaviors of the observed rows, or the sums of their
        weights.
        """


class Multinomial(ReconstructionLoss):
    """Cross-entropy between the softmax of the scores and the normalized labels (ours)."""

    is_softmax = True

    def __init__(
        self, soft: SoftReconstruction, n_sampled: int = 0, row_weight_exponent: float = 0.0
    ) -> None:
        """``n_sampled``: items sampled per batch as candidates; 0 takes the whole catalog."""
        super().__init__(soft)
        self.n_sampled = n_sampled
        self.row_weight_exponent = row_weight_exponent

    @classmethod
    def from_config(cls, config: TrainingConfig, soft: SoftReconstruction, n_items: int) -> Self:
        """Sample items where the catalog is large or the settings say so."""
        n_sampled = config.sampled_items
        if n_sampled is None:
            n_sampled = _default_sampled_items(n_items)
        if n_sampled >= n_items or soft.is_drawn:
            n_sampled = 0
        return cls(soft, n_sampled, config.row_weight_exponent)

    def with_expected_labels(
        self, scores: FactoredScores, ease: Tensor | None, targets: Targets
    ) -> Tensor:
        """See :func:`multinomial`; EASE is mixed in at inference, never here."""
        assert ease is None
        return multinomial(
            scores.products(),
            targets.behaviors,
            targets.ignored,
            self.soft.expected,
            targets.log_inclusion,
            targets.n_counted,
            scores.bias,
        )

    def with_dense_labels(self, scores: Tensor, labels: Tensor, is_counted: Tensor) -> Tensor:
        """Cross-entropy over the counted entries."""
        log_total = scores.masked_fill(~is_counted, -torch.inf).logsumexp(dim=1)
        return log_total - (labels * scores).sum(dim=1) / labels.sum(dim=1).clamp_min(1e-12)

    def reconstruct(self, scores: Tensor, n_behaviors: Tensor) -> Tensor:
        """The softmax, times the number of behaviors."""
        return scores.softmax(dim=1) * n_behaviors


class SquaredError(ReconstructionLoss):
    """Mean squared error over the counted entries (the paper's loss)."""

    is_softmax = False

    def __init__(self, soft: SoftReconstruction, use_gram: bool = False) -> None:
        """``use_gram``: sum the squares through the Gram matrix of the items, where possible."""
        super().__init__(soft)
        self.use_gram = use_gram

    @classmethod
    def from_config(cls, config: TrainingConfig, soft: SoftReconstruction, n_items: int) -> Self:
        """Use the Gram matrix where the catalog is large."""
        return cls(soft, n_items > LARGE_CATALOG)

    def with_expected_labels(
        self, scores: FactoredScores, ease: Tensor | None, targets: Targets
    ) -> Tensor:
        """See :func:`squared`; EASE scores have no factors, so that all scores are computed."""
        behaviors, ignored, smoothing = targets.behaviors, targets.ignored, self.soft.expected
        if self.use_gram and ease is None:
            return squared_by_gram(scores, behaviors, ignored, smoothing)
        dense = _add(scores.scores(), ease).float()
        return squared(dense, behaviors, ignored, smoothing)

    def with_dense_labels(self, scores: Tensor, labels: Tensor, is_counted: Tensor) -> Tensor:
        """Mean square over the counted entries."""
        squares = (scores - labels).square() * is_counted
        return squares.sum(dim=1) / is_counted.sum(dim=1).clamp_min(1)

    def reconstruct(self, scores: Tensor, n_behaviors: Tensor) -> Tensor:
        """The scores themselves."""
        return scores


LOSSES: dict[str, type[ReconstructionLoss]] = {"multinomial": Multinomial, "mse": SquaredError}
"""Every loss by the value of ``training.loss``."""


def make_loss(config: TrainingConfig, soft: SoftReconstruction, n_items: int) -> ReconstructionLoss:
    """The loss that ``training.loss`` names."""
    return LOSSES[config.loss].from_config(config, soft, n_items)


def squared(
    scores: Tensor, targets: SparseRows, ignored: SparseRows | None, smoothing: float
) -> Tensor:
    """Mean squared error per row over the counted entries, labels ``x + g(1 - 2x)``.

    ``scores`` are ``(n, n_items)``, ``smoothing`` is g.
    """
    errors = scores - smoothing if smoothing else scores
    at_ignored = None if ignored is None else errors[ignored.row_of, ignored.items]
    at_targets = errors[targets.row_of, targets.items]
    total = errors.square().sum(dim=1)
    return _mean_square(total, at_targets, at_ignored, targets, ignored, smoothing)


def squared_by_gram(
    scores: FactoredScores, targets: SparseRows, ignored: SparseRows | None, smoothing: float
) -> Tensor:
    """:func:`squared` without computing all scores: their squares are summed by the Gram matrix.

    Time and memory grow with the behaviors and, once per batch, with the items, not with
    rows × items.
    """
    errors = scores.shifted(-smoothing)
    at_ignored = None if ignored is None else errors.at(ignored.row_of, ignored.items)
    at_targets = errors.at(targets.row_of, targets.items)
    total = errors.sum_of_squares()
    return _mean_square(total, at_targets, at_ignored, targets, ignored, smoothing)


def _mean_square(
    total: Tensor,
    at_targets: Tensor,
    at_ignored: Tensor | None,
    targets: SparseRows,
    ignored: SparseRows | None,
    smoothing: float,
) -> Tensor:
    """Mean square of the errors over the counted entries, ``(n,)``.

    ``total`` ``(n,)`` is the sum of ``(s - g)²`` over the catalog; ``at_targets`` and
    ``at_ignored`` are ``s - g`` at these behaviors.
    """
    step = (1.0 - 2.0 * smoothing) * targets.values
    total = total + targets.sum_by_row(step * (step - 2.0 * at_targets))
    if ignored is None or at_ignored is None:
        return total / targets.n_items
    total = total - ignored.sum_by_row(at_ignored.square())
    return total / (ignored.n_items - ignored.counts).clamp_min(1)


def _counted_entries(scores: Tensor, ignored: SparseRows | None) -> Tensor:
    """Mask ``(n, n_items)`` of the entries that count.

    In a row with nothing but ignored entries all count, so that its softmax is not empty.
    """
    is_counted = torch.ones_like(scores, dtype=torch.bool)
    if ignored is not None:
        is_counted[ignored.row_of, ignored.items] = False
        is_counted |= ~is_counted.any(dim=1, keepdim=True)
    return is_counted


def _add(scores: Tensor, ease: Tensor | None) -> Tensor:
    return scores if ease is None else scores + ease
