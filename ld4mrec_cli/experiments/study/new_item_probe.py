"""The evaluation of held-out items in `study cold-start`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.data.row_values import RowValues
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.experiments.cold_items import (
    CHOICE_USERS,
    ColdItems,
    ColdScorer,
    choose_knn_size,
    choose_weight,
    compare_by_content,
    extend_models,
    recalls_among_cold,
    score_cold,
    trace_weights,
)
from ld4mrec_cli.experiments.study.derived import WithoutItems
from ld4mrec_cli.experiments.study.subject import Findings, Subject
from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.models.new_items import ExtendedRecommender
from ld4mrec_cli.runs.scorer import load_scorer


@dataclass(frozen=True)
class NewItems:
    """Recall among held-out items, and in the whole catalog with the weight chosen on validation.

    Its users are those who had interacted with one of them: ``users`` names them.
    """

    derivation: WithoutItems
    uses_content: bool = False
    """Whether the content kNN is evaluated in place of the run."""

    def as_json(self) -> dict[str, Any]:
        """See :class:`ld4mrec_cli.experiments.study.subject.Probe`."""
        return {"probe": "NewItems", **asdict(self)}

    def evaluate(self, subject: Subject) -> Findings:
        """What is chosen is chosen on the first sample and the validation split."""
        cold = self.derivation.open_samples(subject.source, subject.dataset, subject.seed)
        split, k = Split(subject.split), subject.cutoff
        figures: dict[str, float] = {}
        values = subject.run.manifest.dataset.row_values
        scorer: ColdScorer
        if self.uses_content:
            scorer = compare_by_content(cold, split, choose_knn_size(cold, k)).score
        elif self.derivation.stay_in_catalog:
            scorer = _select(load_scorer(subject.run, subject.device), cold.samples[split])
        else:
            models = extend_models(subject.run, cold)
            scorer = score_cold(models[split])
            figures = _trace_catalog(models, cold, split, k, values)
        users, recalls = recalls_among_cold(scorer, cold, split, k, values)
        n_new = len(cold.samples[split])
        metrics = {"recall": float(recalls.mean()), "chance": min(1.0, k / n_new), "n_new": n_new}
        return Findings({**metrics, **figures}, {"recall": recalls, "users": users})


def _select(model: Recommender, items: np.ndarray) -> ColdScorer:
    """Scores of some items of the catalog."""

    def score(rows: csr_matrix, users: np.ndarray) -> Tensor:
        return model.score(rows, users).cpu()[:, torch.from_numpy(items)]

    return score


def _trace_catalog(
    models: Mapping[Split, ExtendedRecommender],
    cold: ColdItems,
    split: Split,
    k: int,
    values: RowValues,
) -> dict[str, float]:
    """Recall in the whole catalog, with weight 1 and with the chosen weight of the new items."""
    curve = trace_weights(
        models[Split.VALID], cold, Split.VALID, k, max_users=CHOICE_USERS, values=values
    )
    chosen = choose_weight(curve)
    points = trace_weights(models[split], cold, split, k, (1.0, chosen), values=values)
    return {
        "weight": chosen,
        **{
            f"{name} {key}": value
            for key, point in zip(("plain", "weighted"), points, strict=True)
            for name, value in asdict(point).items()
        },
    }


def complete(values: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> dict[int, np.ndarray]:
    """Values of users who differ by seed, as values of the same users, with the same means.

    The mean of a seed over its n of N users is that of its linear part over all N (delta method):
    ``mean + N / n (value - mean)``, and ``mean`` for a user whom it has not.

    Args:
        values: users ``(n,)`` and their values ``(n,)``, by seed.

    Returns:
        ``(N,)`` by seed, over the users that any seed has, in the order of their indices.
    """
    everyone = np.unique(np.concatenate([users for users, _ in values.values()]))
    parts = {}
    for seed, (users, own) in values.items():
        mean = float(own.mean())
        parts[seed] = np.full(len(everyone), mean)
        scale = len(everyone) / len(users)
        parts[seed][np.searchsorted(everyone, users)] += scale * (own - mean)
    return parts
