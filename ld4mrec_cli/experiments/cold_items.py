"""How well new items are recommended: items are held out altogether, and added by their content.

Two samples of the items are held out. Nothing of their interactions is known in training: not in
the histories, not in the validation. What is to be chosen (the baseline's neighbors, the weight of
new items) is chosen on the first sample and the validation split, and reported on the second and
the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix, hstack
from torch import Tensor

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.features import Modality
from ld4mrec_cli.data.hold_out import hold_out_items
from ld4mrec_cli.data.new_items import NewItems
from ld4mrec_cli.data.row_values import PLAIN, RowValues
from ld4mrec_cli.data.splits import SPLITS, Split
from ld4mrec_cli.evaluation.ranking import batches, rank
from ld4mrec_cli.experiments.content_knn import ContentKNN, choose_size
from ld4mrec_cli.models.new_items import ExtendedRecommender, weigh_scores
from ld4mrec_cli.runs.add_items import check_extendable, make_extension
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.utils.errors import DatasetError, UserError

WEIGHTS = tuple(2.0 ** (exponent / 2) for exponent in range(-4, 13))
"""Weights of new items that are tried: 1/4 to 64, in steps of √2."""
BATCH_SIZE = 512
CHOICE_USERS = 2000
"""Most users that a study chooses something by."""


@dataclass(frozen=True)
class ColdItems:
    """A dataset without two samples of its items, and these items."""

    whole: Dataset
    known: Dataset
    """The dataset without the items of both samples, or without their interactions."""
    samples: dict[Split, np.ndarray]
    """Items of ``whole`` that were held out, to choose by (valid) and to report on (test)."""

    @property
    def kept(self) -> np.ndarray:
        """Items of ``whole`` that are known, in their order."""
        return np.setdiff1d(
            np.arange(self.whole.shape[1]), np.concatenate([*self.samples.values()])
        )

    def new_items(self, split: Split) -> NewItems:
        """The items of a sample as `add-items` reads them."""
        items = self.samples[split]
        return NewItems(
            items=pl.DataFrame({ITEM: [self.whole.items[item] for item in items.tolist()]}),
            columns=pl.DataFrame(),
            modalities={name: self._features(name, items) for name in self.whole.modality_names()},
        )

    def _features(self, name: str, items: np.ndarray) -> Modality:
        modality = self.whole.modality(name)
        return Modality(modality.values[items], modality.present[items])


@dataclass(frozen=True)
class CurvePoint:
    """The whole catalog with one weight of the new items."""

    weight: float
    warm_recall: float
    """Recall of known items, mean over the users who have such targets."""
    cold_recall: float
    """Recall of new items, likewise."""
    recall: float
    """Recall of both together."""
    cold_share: float
    """Share of the listed items that are new."""


class ColdScorer(Protocol):
    """Scores new items for histories of known ones."""

    def __call__(self, rows: csr_matrix, users: np.ndarray) -> Tensor:
        """Scores ``(n, n_new)``."""
        ...


def hold_out_samples(dataset: Dataset, out: Path, share: float, seed: int) -> ColdItems:
    """Hold out two samples of the items, and write the rest as a dataset to ``out``.

    An ``out`` that is there is replaced if it is a dataset.

    Args:
        dataset: the whole dataset.
        out: dataset directory to write.
        share: share of the items in each sample.
        seed: of the samples.

    Raises:
        UserError: a sample would be empty, or nothing would be left.
    """
    samples = draw_samples(dataset.shape[1], share, seed)
    hold_out_items(dataset, np.concatenate([*samples.values()]), out, overwrite=True)
    return ColdItems(dataset, Dataset.open(out), samples)


def draw_samples(n_items: int, share: float, seed: int) -> dict[Split, np.ndarray]:
    """Two samples of the items, by the split that each serves. Raises UserError for an empty one.

    The arguments are those of :func:`hold_out_samples`.
    """
    size = round(share * n_items)
    if not 0 < size < n_items / 2:
        raise UserError(f"a share of {share:g} of {n_items:,} items cannot be held out twice")
    drawn = np.random.default_rng(seed).permutation(n_items)[: 2 * size].astype(np.int64)
    return {Split.VALID: np.sort(drawn[:size]), Split.TEST: np.sort(drawn[size:])}


def extend_models(run: RunDirectory, cold: ColdItems) -> dict[Split, ExtendedRecommender]:
    """The model of a run on ``cold.known``, extended by each sample as `add-items` does.

    Raises:
        UserError: the model takes no new items.
    """
    check_extendable(run)
    models: dict[Split, ExtendedRecommender] = {}
    learned = None  # of the known items, so the same for both samples
    for split in cold.samples:
        extension = make_extension(run, cold.known, cold.new_items(split), learned)
        learned = extension.learned
        models[split] = extension.extend(load_scorer(run, torch.device("cpu")), weight=1.0)
    return models


def compare_by_content(cold: ColdItems, split: Split, size: int) -> ContentKNN:
    """The content kNN that scores the new items of a sample for histories of known ones."""
    new = cold.new_items(split).modalities
    return ContentKNN.of({name: cold.known.modality(name) for name in new}, new, size)


def choose_knn_size(cold: ColdItems, k: int) -> int:
    """The size of the content kNN with the best recall among the items of the first sample."""
    knn = compare_by_content(cold, Split.VALID, 1)
    return choose_size(knn, lambda one: recall_among_cold(one.score, cold, Split.VALID, k))


def score_cold(model: ExtendedRecommender) -> ColdScorer:
    """Scores of the new items of an extended model."""

    def score(rows: csr_matrix, users: np.ndarray) -> Tensor:
        rows = csr_matrix(rows)
        rows.resize(rows.shape[0], sum(model.neighbors.shape))
        return model.score(rows, users)[:, model.n_known :]

    return score


def recall_among_cold(scorer: ColdScorer, cold: ColdItems, split: Split, k: int) -> float:
    """The mean of :func:`recalls_among_cold` over its users."""
    return float(recalls_among_cold(scorer, cold, split, k)[1].mean())


def recalls_among_cold(
    scorer: ColdScorer, cold: ColdItems, split: Split, k: int, values: RowValues = PLAIN
) -> tuple[np.ndarray, np.ndarray]:
    """Recall@k where the new items of a sample are ranked among themselves.

    ``values``: what the entries of the histories are.

    Returns:
        The users with a history who have interacted with one of them, in any split, ``(n,)``, and
        the recall of each ``(n,)``.

    Raises:
        DatasetError: there is no such user.
    """
    rows = cold.known.matrix(Split.TRAIN, values=values)
    targets = cold.whole.matrix(*SPLITS)[:, cold.samples[split]]
    users = np.flatnonzero((np.diff(rows.indptr) > 0) & (np.diff(targets.indptr) > 0))
    if not len(users):
        what = "no user has interacted with the held-out items and with others in training"
        raise DatasetError(what, where=cold.whole.directory, hint="Hold more items out")
    found = []
    for batch in batches(users, BATCH_SIZE):
        given = _Given(scorer(rows[batch], batch))
        items, _ = rank(given, csr_matrix(targets[batch].shape, dtype=np.float32), None, k)
        found.append(_recall(items, targets[batch]))
    return users, np.concatenate(found)


def trace_weights(
    model: ExtendedRecommender,
    cold: ColdItems,
    split: Split,
    k: int,
    weights: Sequence[float] = WEIGHTS,
    max_users: int | None = None,
    values: RowValues = PLAIN,
) -> list[CurvePoint]:
    """Recall@k in the whole catalog by the weight of the new items.

    Known items of the training split, and for the test those of the validation split, are not
    ranked; the targets are the interactions of ``split`` with known items and with the sample.

    Args:
        model: of :func:`extend_models` for the same ``split``, with weight 1.
        cold: the dataset.
        split: valid or test.
        k: length of the lists.
        weights: to trace.
        max_users: evaluate at most so many users, evenly spaced.
        values: what the entries of the histories are.
    """
    rows = cold.known.matrix(Split.TRAIN, values=values)
    before = [Split.TRAIN] if split == Split.VALID else [Split.TRAIN, Split.VALID]
    whole = cold.whole.matrix(split)
    targets = csr_matrix(hstack([whole[:, cold.kept], whole[:, cold.samples[split]]], format="csr"))
    exclude = cold.known.matrix(*before)
    for matrix in (rows, exclude):
        matrix.resize(targets.shape)
    users = np.flatnonzero((np.diff(rows.indptr) > 0) & (np.diff(targets.indptr) > 0))
    if max_users is not None:
        users = thin_out(users, max_users)
    sums = np.zeros((len(weights), 3, 2))
    n_listed = np.zeros((len(weights), 2))
    for batch in batches(users, BATCH_SIZE):
        scores = model.score(rows[batch], batch)
        parts = _split_columns(targets[batch], model.n_known)
        for at, weight in enumerate(weights):
            weighted = _Given(_weigh(scores, model.n_known, weight))
            items, _ = rank(weighted, rows[batch], exclude[batch], k)
            for part, wanted in enumerate(parts):
                recall = _recall(items, wanted)
                sums[at, part] += recall[~np.isnan(recall)].sum(), (~np.isnan(recall)).sum()
            n_listed[at] += (items >= model.n_known).sum(), (items >= 0).sum()
    means = sums[..., 0] / np.maximum(sums[..., 1], 1.0)
    shares = n_listed[:, 0] / np.maximum(n_listed[:, 1], 1.0)
    return [
        CurvePoint(weight, float(warm), float(new), float(both), float(share))
        for weight, (warm, new, both), share in zip(weights, means, shares, strict=True)
    ]


def thin_out(users: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of the users ``(n_users,)``, evenly spaced."""
    return users[np.linspace(0, len(users) - 1, min(n, len(users))).astype(np.int64)]


def choose_weight(curve: Sequence[CurvePoint]) -> float:
    """The weight with the best recall of known and new items together, of equal ones the least."""
    return max(curve, key=lambda point: (point.recall, -point.weight)).weight


@dataclass(frozen=True)
class _Given:
    """A scorer of scores that are there."""

    scores: Tensor

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        return self.scores


def _weigh(scores: Tensor, n_known: int, weight: float) -> Tensor:
    """Scores ``(n, n_items)`` with those of new items weighted as ExtendedRecommender does."""
    return torch.cat([scores[:, :n_known], weigh_scores(scores[:, n_known:], weight)], dim=1)


def _split_columns(targets: csr_matrix, n_known: int) -> tuple[csr_matrix, ...]:
    """Targets among the known items, among the new ones, and all ``(n, n_items)``."""
    is_new = (targets.indices >= n_known).astype(np.float32)
    parts = []
    for values in (1.0 - is_new, is_new):
        parts_of = (values, targets.indices, targets.indptr)
        part = csr_matrix(parts_of, shape=targets.shape, copy=True)  # its zeros are taken out
        part.eliminate_zeros()
        parts.append(part)
    return (*parts, targets)


def _recall(items: np.ndarray, targets: csr_matrix) -> np.ndarray:
    """Share of the targets of each row that are listed ``(n,)``; NaN where there are none."""
    n_targets = np.diff(targets.indptr)
    listed = np.flatnonzero(items.ravel() >= 0)
    at = np.repeat(np.arange(len(items)), items.shape[1])[listed], items.ravel()[listed]
    chosen = csr_matrix((np.ones(len(listed)), at), shape=targets.shape)
    hits = np.asarray(chosen.multiply(targets > 0).sum(axis=1)).ravel()
    return np.divide(hits, n_targets, out=np.full(len(items), np.nan), where=n_targets > 0)
