"""Ways to split interactions, as pure functions of arrays.

Interactions are given by user codes and item codes ``(n,)``. A split is a label per interaction:
0 train, 1 valid, 2 test, -1 left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ld4mrec_cli.data.splits import LEFT_OUT, SPLITS, Split

TRAIN, VALID, TEST = (SPLITS.index(split) for split in (Split.TRAIN, Split.VALID, Split.TEST))


def random_split(
    users: np.ndarray, valid_ratio: float, test_ratio: float, rng: np.random.Generator
) -> np.ndarray:
    """Split each user's interactions at random; see :func:`_held_out` for the numbers."""
    return _last_of_each(users, rng.permutation(len(users)), valid_ratio, test_ratio)


def temporal_split(
    users: np.ndarray, times: np.ndarray, valid_ratio: float, test_ratio: float
) -> np.ndarray:
    """Each user's latest interactions are the test, those before them validation.

    Equal times count in the order of the arrays.
    """
    return _last_of_each(
        users, np.argsort(np.argsort(times, kind="stable")), valid_ratio, test_ratio
    )


def leave_one_out_split(users: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Each user's last interaction by ``order`` ``(n,)`` is the test, the one before validation.

    Users with fewer than three interactions stay in training.
    """
    position, count = _position(users, order)
    labels = np.zeros(len(users), dtype=np.int8)
    enough = count >= 3
    labels[enough & (position == count - 1)] = TEST
    labels[enough & (position == count - 2)] = VALID
    return labels


def global_time_split(
    users: np.ndarray, times: np.ndarray, valid_ratio: float, test_ratio: float
) -> np.ndarray:
    """Cut the time line twice for all users: train < valid < test in time.

    Interactions of one instant stay together. Held-out interactions of users without any in
    training are left out (-1): nothing is known of those users at that time.
    """
    ordered = np.sort(times)
    first_test = _instant(ordered, 1.0 - test_ratio) if test_ratio else np.inf
    first_valid = _instant(ordered, 1.0 - test_ratio - valid_ratio) if valid_ratio else first_test
    return _cut_time_line(users, times, first_valid, first_test, np.inf)


def rolling_splits(
    users: np.ndarray, times: np.ndarray, n_folds: int, valid_ratio: float, test_ratio: float
) -> list[np.ndarray]:
    """Cut the time line as :func:`global_time_split` does, once for each of the last windows.

    The tests of the folds are the last ``n_folds`` windows of ``test_ratio`` of the interactions,
    the earliest first. Before each is its validation, before that its training; what is later is
    left out (-1).
    """
    ordered = np.sort(times)
    starts = [_instant(ordered, 1.0 - part * test_ratio) for part in range(n_folds, 0, -1)]
    folds = []
    for fold, end in enumerate([*starts[1:], np.inf]):
        first_valid = _instant(ordered, 1.0 - (n_folds - fold) * test_ratio - valid_ratio)
        folds.append(_cut_time_line(users, times, first_valid, starts[fold], end))
    return folds


def k_fold_splits(
    users: np.ndarray, n_folds: int, valid_ratio: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Deal each user's interactions at random onto folds; each fold has its part as the test.

    Every interaction is in the test of one fold, but those of users with fewer than three, which
    stay in training. Of a user's others, ``valid_ratio`` are validation.
    """
    position, count = _position(users, rng.permutation(len(users)))
    first = rng.integers(n_folds, size=int(users.max()) + 1)  # short histories fill all folds alike
    parts = np.where(count < 3, LEFT_OUT, (position + first[users]) % n_folds)
    folds = []
    for fold in range(n_folds):
        labels = np.full(len(users), TEST, dtype=np.int8)
        others = parts != fold
        labels[others] = random_split(users[others], valid_ratio, 0.0, rng)
        folds.append(labels)
    return folds


def _instant(ordered: np.ndarray, share: float) -> Any:
    """Time of the first interaction after a share of all, with all its digits.

    ``ordered`` ``(n,)`` are the times.
    """
    return ordered[min(len(ordered) - 1, _cut(len(ordered), share))]


def _cut_time_line(
    users: np.ndarray, times: np.ndarray, first_valid: Any, first_test: Any, end: Any
) -> np.ndarray:
    """Label by time; what is from ``end`` on, or held out of a user without training, is none."""
    labels = np.zeros(len(times), dtype=np.int8)
    labels[times >= first_valid] = VALID
    labels[times >= first_test] = TEST
    in_training = np.zeros(int(users.max()) + 1, dtype=bool)
    in_training[users[labels == TRAIN]] = True
    labels[(labels != TRAIN) & ~in_training[users]] = LEFT_OUT
    labels[times >= end] = LEFT_OUT
    return labels


def _cut(n: int, share: float) -> int:
    return int(np.ceil(round(n * share, 6)))  # 10 · (1 - 0.2 - 0.2) is a little above 6


def _last_of_each(
    users: np.ndarray, order: np.ndarray, valid_ratio: float, test_ratio: float
) -> np.ndarray:
    position, count = _position(users, order)
    most = np.maximum(count - 1 - (valid_ratio > 0.0), 0)
    n_test = np.minimum(_held_out(count, test_ratio), most)
    n_valid = np.minimum(_held_out(count, valid_ratio), count - 1 - n_test)
    labels = np.zeros(len(users), dtype=np.int8)
    labels[position >= count - n_valid - n_test] = VALID
    labels[position >= count - n_test] = TEST
    return labels


def _held_out(count: np.ndarray, ratio: float) -> np.ndarray:
    """Number of a user's ``count`` interactions in a share: at least one, none below three.

    Two rounded shares may be all that a user has; :func:`_last_of_each` then keeps one to train on.
    """
    if ratio == 0.0:
        return np.zeros_like(count)
    rounded = np.maximum(1, np.round(count * ratio)).astype(count.dtype)
    return np.where(count < 3, 0, rounded)


def _position(users: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank by ``order`` among the user's interactions ``(n,)``, and their number ``(n,)``."""
    sequence = np.lexsort((order, users))
    counts = np.bincount(users)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    position = np.empty(len(users), dtype=np.int64)
    position[sequence] = np.arange(len(users)) - starts[users[sequence]]
    return position, counts[users]
