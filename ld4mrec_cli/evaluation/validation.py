"""The ``validate`` callable of a training: metrics on the validation split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.evaluate import RankUsers, evaluate_ranking
from ld4mrec_cli.evaluation.part_ranking import PartRanker, count_kept_users
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError, PartScorer, Scorer, rank
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import DatasetError, TrainingDiverged

MAX_VALIDATION_SCORES = 2 * 10**9
"""Most scores that a validation computes, unless ``training.validation_users`` says otherwise."""
MIN_VALIDATION_USERS = 2000
"""Fewest users that a validation ranks for, where the split has as many."""


def select_validation_users(config: TrainingConfig, targets: csr_matrix) -> np.ndarray:
    """Users of a validation, ascending: all with a target, or a sample drawn by the seed."""
    users = np.flatnonzero(np.diff(targets.indptr))
    n_users = config.validation_users
    if n_users is None:
        n_users = max(MIN_VALIDATION_USERS, MAX_VALIDATION_SCORES // targets.shape[1])
    return _draw_users(users, n_users or len(users), config.seed)


def _draw_users(users: np.ndarray, n_users: int, seed: int) -> np.ndarray:
    """At most ``n_users`` of ``users``, drawn by the seed, ascending."""
    if n_users >= len(users):
        return users
    return np.sort(np.random.default_rng(seed).choice(users, n_users, replace=False))


def balance_with_recall(metrics: Mapping[str, float], metric: str) -> float:
    """Value by which the weights of a mixture are chosen, higher is better.

    NDCG@K hardly changes over a wide range of weights, so its maximum there is chance, and Recall@K
    does change: the geometric mean of both. Another ``metric`` stands alone.
    """
    name, cutoff = metric.split("@")
    if name != "ndcg":
        return metrics[metric]
    return math.sqrt(metrics[metric] * metrics[f"recall@{cutoff}"])


MAX_LEARNED_SHARE = 0.5
"""Share of a split that may be left out because the weights have learned it."""


def leave_out_learned(
    targets: csr_matrix,
    learned: csr_matrix,
    split: str,
    dataset: Dataset,
    on_note: Callable[[str], None],
) -> csr_matrix:
    """``targets`` ``(n_users, n_items)`` without those that the weights have ``learned``.

    They are said; weights that have learned most of the split cannot be measured on it.

    Raises:
        DatasetError: more than half of the targets are learned.
    """
    kept = csr_matrix(targets - targets.multiply(learned.astype(bool).astype(targets.dtype)))
    kept.eliminate_zeros()
    kept.sort_indices()
    n_learned = targets.nnz - kept.nnz
    if not n_learned:
        return targets
    what = f"{n_learned:,} of the {targets.nnz:,} interactions of the {split} split"
    if n_learned > MAX_LEARNED_SHARE * targets.nnz:
        hint = "Split newer data in time: `ld4mrec prepare --split temporal` or `global-time`"
        raise DatasetError(f"{what} were training data before", where=dataset.directory, hint=hint)
    on_note(f"left out: {what}, which were training data before")
    return kept


@dataclass(frozen=True)
class SplitValidator:
    """Metrics on the validation split by name; training items are excluded."""

    rows: csr_matrix
    """Training rows ``(n_users, n_items)``."""
    targets: csr_matrix
    """Items to find ``(n_users, n_items)``."""
    exclude: csr_matrix
    """Items left out of the ranking ``(n_users, n_items)``."""
    users: np.ndarray
    """Users that are ranked for ``(n,)``, ascending, each with a target."""
    cutoffs: Sequence[int]
    batch_size: int
    group: Group = SINGLE_PROCESS

    def __call__(self, scorer: Scorer, rows: csr_matrix | None = None) -> dict[str, float]:
        """Rank for the histories ``rows`` ``(n_users, n_items)``; None: the training rows.

        Raises:
            TrainingDiverged: a score is NaN or infinite.
        """
        rows = self.rows if rows is None else rows

        def rank_users(users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return rank(scorer, rows[users], self.exclude[users], self._depth, users)

        return self._measure(rank_users, rows)

    def repeat(
        self, scorer: Scorer, rows: csr_matrix | None = None
    ) -> Callable[[], dict[str, float]]:
        """This validation of one scorer, for several calls between which weights of parts change.

        Where the scores are a sum of parts, these are computed once: see :class:`PartRanker`.
        """
        rows = self.rows if rows is None else rows
        if self.keeps_parts and isinstance(scorer, PartScorer) and scorer.part_weights is not None:
            ranker = PartRanker(scorer, rows, self.exclude, self._depth)
            return lambda: self._measure(ranker, rows)
        return lambda: self(scorer, rows)

    @property
    def keeps_parts(self) -> bool:
        """Whether the users are few enough for :meth:`repeat` to compute parts once."""
        return len(self.users) <= count_kept_users(self._depth)

    @property
    def _depth(self) -> int:
        """Places of the lists."""
        return min(max(self.cutoffs), self.targets.shape[1])

    def _measure(self, rank_users: RankUsers, rows: csr_matrix) -> dict[str, float]:
        try:
            result = evaluate_ranking(
                rank_users,
                rows,
                self.targets,
                self.cutoffs,
                self.batch_size,
                self.users,
                self.group,
            )
        except NonFiniteScoresError as error:
            raise TrainingDiverged(
                str(error), hint="Lower training.learning_rate or set training.grad_clip"
            ) from None
        return {name: result.metrics[name] for name in result.per_user}

    def draw_users(self, n_users: int, seed: int) -> SplitValidator:
        """This validator of at most so many of its users, drawn by the seed."""
        return replace(self, users=_draw_users(self.users, n_users, seed))

    def restrict(self, items: np.ndarray, n_users: int, seed: int) -> SplitValidator | None:
        """This validator of a part of the catalog and at most so many users, in this process alone.

        Args:
            items: items ``(m,)``, ascending; others are unknown to the new validator.
            n_users: if there are more users, so many are drawn by ``seed``.

        Returns:
            None if no user has a target left.
        """
        parts = (self.rows, self.targets, self.exclude)
        rows, targets, exclude = (csr_matrix(matrix[:, items]) for matrix in parts)
        users = self.users[np.diff(targets.indptr)[self.users] > 0]
        if not len(users):
            return None
        users = _draw_users(users, n_users, seed)
        return replace(
            self, rows=rows, targets=targets, exclude=exclude, users=users, group=SINGLE_PROCESS
        )


def make_validator(
    training: TrainingConfig,
    evaluation: EvaluationConfig,
    dataset: Dataset,
    train_rows: csr_matrix,
    on_note: Callable[[str], None] = lambda text: None,
    group: Group = SINGLE_PROCESS,
    learned: csr_matrix | None = None,
) -> SplitValidator:
    """Make the ``validate`` callable of a training.

    What the weights have ``learned`` ``(n_users, n_items)`` beside the training rows is no target
    and excluded, too.
    """
    targets = dataset.matrix(Split.VALID)
    if not targets.nnz:
        raise DatasetError("the valid split is empty", where=dataset.directory)
    exclude = train_rows
    if learned is not None and learned.nnz:
        targets = leave_out_learned(targets, learned, Split.VALID, dataset, on_note)
        exclude = csr_matrix(train_rows.maximum(learned))
    users = select_validation_users(training, targets)
    n_users = dataset.schema.splits[Split.VALID].users
    if len(users) < n_users:
        on_note(
            f"validating with {len(users):,} of the {n_users:,} users (training.validation_users)"
        )
    cutoffs = sorted({20, int(training.metric.split("@")[1])})

    return SplitValidator(
        train_rows, targets, exclude, users, cutoffs, evaluation.batch_size, group
    )
