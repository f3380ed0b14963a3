from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.data.noise import Noise, TooMuchNoise, _drawn_from_the_free, inject

N_ITEMS = 40
KINDS = ("random", "popular", "drop", "flip")


def interactions(seed: int, n_users: int = 12, per_user: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Each user's items, drawn with a bias towards the low numbers; the first is the training data."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, N_ITEMS + 1)
    picks = [
        rng.choice(N_ITEMS, per_user, replace=False, p=weights / weights.sum())
        for _ in range(n_users)
    ]
    return np.repeat(np.arange(n_users), per_user), np.concatenate(picks)


def noise_of(
    kind: str, ratio: float, seed: int = 0, data_seed: int = 0
) -> tuple[Noise, tuple, tuple]:
    users, items = interactions(data_seed)
    held = np.arange(len(users)) % 8 >= 6
    train, held_out = (users[~held], items[~held]), (users[held], items[held])
    return (
        inject(kind, ratio, *train, N_ITEMS, held_out, np.random.default_rng(seed)),
        train,
        held_out,
    )


def pairs(users: np.ndarray, items: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(users.tolist(), items.tolist(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@given(ratio=st.floats(0, 0.8), seed=st.integers(0, 50))
def test_counts_are_exact(kind, ratio, seed):
    noise, train, _ = noise_of(kind, ratio, seed)
    count = round(ratio * len(train[0]))
    assert len(noise.removed) == (count if kind in ("drop", "flip") else 0)
    assert len(noise.added_items) == len(noise.added_users) == (0 if kind == "drop" else count)


@pytest.mark.parametrize("kind", ["random", "popular", "flip"])
@given(ratio=st.floats(0, 0.8), seed=st.integers(0, 50))
def test_added_pairs_are_in_no_split_and_differ(kind, ratio, seed):
    noise, train, held_out = noise_of(kind, ratio, seed, data_seed=seed)
    added = pairs(noise.added_users, noise.added_items)
    assert len(set(added)) == len(added)
    assert not set(added) & {*pairs(*train), *pairs(*held_out)}
    assert all(0 <= item < N_ITEMS for item in noise.added_items)


@pytest.mark.parametrize("kind", ["drop", "flip"])
@given(ratio=st.floats(0, 0.83), seed=st.integers(0, 50))
def test_every_user_keeps_an_interaction(kind, ratio, seed):
    noise, (users, _), _ = noise_of(kind, ratio, seed)
    left = np.delete(users, noise.removed)
    assert set(left) == set(users)
    assert (np.diff(noise.removed) > 0).all()


def test_flip_replaces_each_interaction_for_its_user():
    noise, (users, _), _ = noise_of("flip", 0.5)
    assert sorted(noise.added_users) == sorted(users[noise.removed])


def test_a_ratio_above_one_adds_to_users_evenly():
    noise, (users, _), _ = noise_of("random", 2.0)
    assert (np.bincount(noise.added_users) == 2 * np.bincount(users)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_determines_the_noise(kind):
    first, again, other = (noise_of(kind, 0.4, seed)[0] for seed in (1, 1, 2))
    for name in ("removed", "added_users", "added_items"):
        assert (getattr(first, name) == getattr(again, name)).all()
    assert (
        first.removed.tolist() != other.removed.tolist()
        or first.added_items.tolist() != other.added_items.tolist()
    )


def test_popular_prefers_popular_items():
    # users 0-19 all have items 0-2; users 20-39 have one rare item each; nobody has items 30-49
    users = np.concatenate([np.repeat(np.arange(20), 3), np.arange(20, 40)])
    items = np.concatenate([np.tile([0, 1, 2], 20), np.arange(10, 30)])
    nothing = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    share = {}
    for kind in ("popular", "random"):
        noise = inject(kind, 1.0, users, items, 50, nothing, np.random.default_rng(0))
        share[kind] = (noise.added_items[noise.added_users >= 20] < 3).mean()
        if kind == "popular":
            assert noise.added_items.max() < 30
    assert share["popular"] > 0.5
    assert share["random"] < 0.3


def test_random_is_uniform_over_the_items_a_user_has_not():
    users, items = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    nothing = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    drawn = [
        inject("random", 1.0, users, items, 5, nothing, np.random.default_rng(s)).added_items[0]
        for s in range(400)
    ]
    assert np.bincount(drawn, minlength=5)[0] == 0
    assert np.bincount(drawn, minlength=5)[1:].min() > 70


@pytest.mark.parametrize(
    ("kind", "ratio"), [("drop", 0.9), ("flip", 0.9), ("random", 7.0), ("popular", 7.0)]
)
def test_more_than_the_data_can_give_is_refused(kind, ratio):
    with pytest.raises(TooMuchNoise, match=r"interactions cannot be removed|new items for a user"):
        noise_of(kind, ratio)


@pytest.mark.parametrize("kind", ["random", "popular"])
@pytest.mark.parametrize("held", [True, False])
def test_a_user_with_nearly_every_item_gets_the_few_that_are_left(kind, held):
    # user 0 has all but two of 3000 items; nobody has those two, so popularity alone never draws them
    n_items, free = 3000, [7, 2999]
    owned = np.setdiff1d(np.arange(n_items), free)
    split = 2 if held else len(owned)
    users, items = np.zeros(split, dtype=np.int64), owned[:split]
    held_out = (np.zeros(len(owned) - split, dtype=np.int64), owned[split:])
    noise = inject(kind, 2 / split, users, items, n_items, held_out, np.random.default_rng(0))
    assert sorted(noise.added_items.tolist()) == free
    with pytest.raises(TooMuchNoise, match="3 new items for a user"):
        inject(kind, 3 / split, users, items, n_items, held_out, np.random.default_rng(0))


def test_the_last_free_items_are_drawn_by_popularity():
    # users 1-20 make item 1 popular and users 21-23 item 2, both too rarely drawn beside item 0's 40,000
    n_fans = 40_000
    users = np.concatenate([np.arange(100, 100 + n_fans), np.arange(1, 21), np.arange(21, 24), [0]])
    items = np.concatenate([np.zeros(n_fans), np.full(20, 1), np.full(3, 2), [0]]).astype(np.int64)
    taken = np.sort(users * 4 + items)
    weights = np.bincount(items, minlength=4).astype(float)
    first = [
        _drawn_from_the_free(
            np.zeros(1, dtype=np.int64), taken, weights, np.random.default_rng(seed)
        )[0]
        for seed in range(400)
    ]
    counts = np.bincount(first, minlength=4)
    assert counts[0] == counts[3] == 0
    assert counts[1] / 400 == pytest.approx(20 / 23, abs=0.06)
    both = _drawn_from_the_free(
        np.zeros(3, dtype=np.int64), taken, weights, np.random.default_rng(0)
    )
    assert sorted(both) == [1, 2, 3]
    assert both[2] == 3, "an item without popularity comes last"
