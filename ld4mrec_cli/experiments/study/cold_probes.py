"""Evaluations of `study cold-start`: short histories, and items of few interactions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import UNKNOWN
from ld4mrec_cli.data.row_values import age_again
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.evaluate import evaluate
from ld4mrec_cli.evaluation.ranking import Scorer
from ld4mrec_cli.experiments.cold_items import CHOICE_USERS, thin_out
from ld4mrec_cli.experiments.content_knn import ContentKNN, choose_size
from ld4mrec_cli.experiments.study.subject import Findings, Subject
from ld4mrec_cli.runs.evaluate import applied_mask, split_question
from ld4mrec_cli.runs.newer_data import Question
from ld4mrec_cli.runs.scorer import load_scorer

EDGES = (0, 1, 3, 6, 11, 21, 51, 101, 201, 501)
"""Least training interactions of the items of each group."""


def group_names() -> list[str]:
    """Training interactions of the items of each group, as text."""
    ends = [after - 1 for after in EDGES[1:]]
    names = [f"{a}-{b}" if a < b else str(a) for a, b in zip(EDGES, ends, strict=False)]
    return [*names, f"{EDGES[-1]}+"]


def grouped(name: str) -> str:
    """Name of the recall of the targets of one group."""
    return f"items of {name}"


def _ask(subject: Subject) -> Question:
    """The split of the study, as `ld4mrec evaluate` asks a run on its own dataset."""
    mask = applied_mask(subject.run, subject.split, subject.options)
    values = subject.run.manifest.dataset.row_values
    return split_question(subject.dataset, subject.split, mask, values)


def _asked_users(question: Question) -> np.ndarray:
    """Users with a history and a target ``(n,)``."""
    return np.flatnonzero(
        (np.diff(question.rows.indptr) > 0) & (np.diff(question.targets.indptr) > 0)
    )


@dataclass(frozen=True)
class KnownItems:
    """What both evaluations have in common."""

    uses_content: bool = False
    """Whether the content kNN is evaluated in place of the run."""

    def as_json(self) -> dict[str, Any]:
        """See :class:`ld4mrec_cli.experiments.study.subject.Probe`."""
        return {"probe": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class AllItems(KnownItems):
    """The tested metrics, and the recall of targets by the training interactions of the items."""

    def evaluate(self, subject: Subject) -> Findings:
        """Recall of a group is over the users with a target in it."""
        question, k = _ask(subject), subject.cutoff
        degree = subject.dataset.matrix(Split.TRAIN).getnnz(axis=0)
        group_of = np.searchsorted(EDGES, degree, side="right") - 1
        hits = np.zeros((subject.dataset.shape[0], len(EDGES)))

        def count(users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> None:
            listed = items[:, :k]
            at = np.repeat(users, listed.shape[1]), listed.ravel()
            found = np.asarray(question.targets[at[0], at[1]]).ravel() * (at[1] >= 0)
            np.add.at(hits, (at[0], group_of[at[1]]), found)

        result = evaluate(
            _scorer(subject, self.uses_content),
            question.rows,
            question.targets,
            question.exclude,
            subject.options.k,
            subject.options.batch_size,
            on_lists=count,
        )
        return Findings(
            result.metrics,
            {
                **{name: result.per_user[name] for name in subject.tested},
                **_recall_by_group(question.targets, group_of, hits),
            },
        )


def _recall_by_group(
    targets: csr_matrix, group_of: np.ndarray, hits: np.ndarray
) -> dict[str, np.ndarray]:
    """Recall of the users with a target in each group, from ``hits`` ``(n_users, n_groups)``."""
    found = {}
    for group, name in enumerate(group_names()):
        n_targets = targets @ (group_of == group).astype(np.float64)
        users = np.flatnonzero(n_targets)
        if len(users):
            found[grouped(name)] = hits[users, group] / n_targets[users]
    return found


@dataclass(frozen=True)
class ShortHistories(KnownItems):
    """The tested metrics where at most ``length`` items of each history are known.

    Which ones is drawn by the seed; the draw of a shorter length is part of that of a longer one.
    All training items stay excluded, so that the ranked items are the same for each length.
    """

    length: int = 1

    def evaluate(self, subject: Subject) -> Findings:
        """Users are new to the run: it has their history alone."""
        question = _ask(subject)
        result = evaluate(
            _scorer(subject, self.uses_content),
            self._cut_rows(subject, question.rows),
            question.targets,
            question.exclude,
            subject.options.k,
            subject.options.batch_size,
            users=_asked_users(question),
            trained_as=np.full(question.rows.shape[0], UNKNOWN),
        )
        return Findings(result.metrics, {name: result.per_user[name] for name in subject.tested})

    def _cut_rows(self, subject: Subject, rows: csr_matrix) -> csr_matrix:
        """The cut histories, as they are read: what is left fades as a history of its own."""
        info = subject.run.manifest.dataset
        cut = cut_histories(rows, self.length, subject.seed)
        if info.history_half_life is None:
            return cut
        plain = subject.dataset.matrix(Split.TRAIN, values=info.training_values)
        return age_again(cut, cut_histories(plain, self.length, subject.seed), info.row_values)


def cut_histories(rows: csr_matrix, length: int, seed: int) -> csr_matrix:
    """Rows ``(n_users, n_items)`` with at most ``length`` of their items, drawn by ``seed``."""
    lengths = np.diff(rows.indptr)
    row_of = np.repeat(np.arange(rows.shape[0]), lengths)
    order = np.lexsort((np.random.default_rng(seed).random(rows.nnz), row_of))
    kept = np.sort(order[np.arange(rows.nnz) - rows.indptr[row_of] < length])
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, length))])
    return csr_matrix((rows.data[kept], rows.indices[kept], starts), shape=rows.shape)


def _scorer(subject: Subject, uses_content: bool) -> Scorer:
    """The run, or the content kNN with the size that is best on validation."""
    if not uses_content:
        return load_scorer(subject.run, subject.device)
    features = {name: subject.dataset.modality(name) for name in subject.dataset.modality_names()}
    question = split_question(subject.dataset, Split.VALID, Split.TRAIN)
    users = thin_out(_asked_users(question), CHOICE_USERS)

    def measure(knn: ContentKNN) -> float:
        found = evaluate(
            knn,
            question.rows,
            question.targets,
            question.exclude,
            [subject.cutoff],
            subject.options.batch_size,
            users=users,
        )
        return found.metrics[f"recall@{subject.cutoff}"]

    knn = ContentKNN.of(features, features, 1)
    return replace(knn, size=choose_size(knn, measure))
