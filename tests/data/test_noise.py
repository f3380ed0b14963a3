from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.data.noise import noise_types
from ld4mrec_cli.data.noise.inject import apply_noise, sample_noise
from ld4mrec_cli.data.noise.noise_types import NOISE_TYPES, Noise
from ld4mrec_cli.data.noise.sampler import NoiseSampler, TooMuchNoise, sample_free_items

N_ITEMS = 40
DOCS = Path(__file__).parents[2] / "docs"
ALIKE = 1.0 + np.eye(N_ITEMS)
"""Content of items that are all like each other."""


def interactions(seed: int, n_users: int = 12, per_user: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Users and items, sampled with a bias towards low item numbers."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, N_ITEMS + 1)
    picks = [
        rng.choice(N_ITEMS, per_user, replace=False, p=weights / weights.sum())
        for _ in range(n_users)
    ]
    return np.repeat(np.arange(n_users), per_user), np.concatenate(picks)


def no_interactions() -> tuple[np.ndarray, np.ndarray]:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)


def noise_of(
    noise_type: str, ratio: float, seed: int = 0, data_seed: int = 0
) -> tuple[Noise, tuple, tuple]:
    users, items = interactions(data_seed)
    is_held_out = np.arange(len(users)) % 8 >= 6
    train = users[~is_held_out], items[~is_held_out]
    held_out = users[is_held_out], items[is_held_out]
    rng = np.random.default_rng(seed)
    sampler = NoiseSampler(*train, N_ITEMS, held_out, rng, read_content=lambda: ALIKE)
    return sample_noise(noise_type, ratio, sampler), train, held_out


def pairs(users: np.ndarray, items: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(users.tolist(), items.tolist(), strict=True))


@pytest.mark.parametrize(
    ("noise_type", "removed", "added"),
    [("random", 0, 1), ("popular", 0, 1), ("drop", 1, 0), ("flip", 1, 1), ("similar", 0, 1)],
)
@given(ratio=st.floats(0, 0.8), seed=st.integers(0, 50))
def test_counts_are_exact(noise_type, removed, added, ratio, seed):
    noise, train, _ = noise_of(noise_type, ratio, seed)
    count = round(ratio * len(train[0]))
    assert len(noise.removed) == removed * count
    assert len(noise.added_items) == len(noise.added_users) == added * count


@pytest.mark.parametrize("noise_type", NOISE_TYPES)
@given(ratio=st.floats(0, 0.8), seed=st.integers(0, 50))
def test_added_pairs_are_in_no_split_and_differ(noise_type, ratio, seed):
    noise, train, held_out = noise_of(noise_type, ratio, seed, data_seed=seed)
    added = pairs(noise.added_users, noise.added_items)
    assert len(set(added)) == len(added)
    assert not set(added) & {*pairs(*train), *pairs(*held_out)}
    assert all(0 <= item < N_ITEMS for item in noise.added_items)


@pytest.mark.parametrize("noise_type", NOISE_TYPES)
@given(ratio=st.floats(0, 0.83), seed=st.integers(0, 50))
def test_every_user_keeps_an_interaction(noise_type, ratio, seed):
    noise, (users, _), _ = noise_of(noise_type, ratio, seed)
    remaining = np.delete(users, noise.removed)
    assert set(remaining) == set(users)
    assert (np.diff(noise.removed) > 0).all()


def test_flip_replaces_each_interaction_for_its_user():
    noise, (users, _), _ = noise_of("flip", 0.5)
    assert sorted(noise.added_users) == sorted(users[noise.removed])


def test_a_ratio_above_one_adds_to_users_evenly():
    noise, (users, _), _ = noise_of("random", 2.0)
    assert (np.bincount(noise.added_users) == 2 * np.bincount(users)).all()


@pytest.mark.parametrize("noise_type", NOISE_TYPES)
def test_a_seed_determines_the_noise(noise_type):
    first, again, other = (noise_of(noise_type, 0.4, seed)[0] for seed in (1, 1, 2))
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
    share = {}
    for noise_type in ("popular", "random"):
        sampler = NoiseSampler(users, items, 50, no_interactions(), np.random.default_rng(0))
        noise = sample_noise(noise_type, 1.0, sampler)
        share[noise_type] = (noise.added_items[noise.added_users >= 20] < 3).mean()
        if noise_type == "popular":
            assert noise.added_items.max() < 30
    assert share["popular"] > 0.5
    assert share["random"] < 0.3


def test_random_is_uniform_over_the_items_a_user_has_not():
    users, items = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    samplers = [
        NoiseSampler(users, items, 5, no_interactions(), np.random.default_rng(seed))
        for seed in range(400)
    ]
    added = [sample_noise("random", 1.0, sampler).added_items[0] for sampler in samplers]
    counts = np.bincount(added, minlength=5)
    assert counts[0] == 0
    assert counts[1:].min() > 70


@pytest.mark.parametrize(
    ("noise_type", "ratio"), [("drop", 0.9), ("flip", 0.9), ("random", 7.0), ("popular", 7.0)]
)
def test_more_than_the_data_can_give_is_refused(noise_type, ratio):
    with pytest.raises(TooMuchNoise, match=r"interactions cannot be removed|new items for a user"):
        noise_of(noise_type, ratio)


@pytest.mark.parametrize("noise_type", ["random", "popular"])
@pytest.mark.parametrize("held", [True, False])
def test_a_user_with_nearly_every_item_gets_the_few_free_ones(noise_type, held):
    # user 0 has all but two of 3000 items; nobody has those two, so their weight is 0
    n_items, free = 3000, [7, 2999]
    owned = np.setdiff1d(np.arange(n_items), free)
    split = 2 if held else len(owned)
    users, items = np.zeros(split, dtype=np.int64), owned[:split]
    held_out = (np.zeros(len(owned) - split, dtype=np.int64), owned[split:])
    sampler = NoiseSampler(users, items, n_items, held_out, np.random.default_rng(0))
    assert sorted(sample_noise(noise_type, 2 / split, sampler).added_items.tolist()) == free
    with pytest.raises(TooMuchNoise, match="3 new items for a user"):
        sample_noise(noise_type, 3 / split, sampler)


def test_the_last_free_items_are_sampled_by_popularity():
    # users 1-20 make item 1 popular, users 21-23 item 2: both rare beside the 40,000 of item 0
    n_fans = 40_000
    users = np.concatenate([np.arange(100, 100 + n_fans), np.arange(1, 21), np.arange(21, 24), [0]])
    items = np.concatenate([np.zeros(n_fans), np.full(20, 1), np.full(3, 2), [0]]).astype(np.int64)
    taken_pairs = np.sort(users * 4 + items)
    weights = np.bincount(items, minlength=4).astype(float)
    first = [
        sample_free_items(
            np.zeros(1, dtype=np.int64), taken_pairs, weights, np.random.default_rng(seed)
        )[0]
        for seed in range(400)
    ]
    counts = np.bincount(first, minlength=4)
    assert counts[0] == counts[3] == 0
    assert counts[1] / 400 == pytest.approx(20 / 23, abs=0.06)
    both = sample_free_items(
        np.zeros(3, dtype=np.int64), taken_pairs, weights, np.random.default_rng(0)
    )
    assert sorted(both) == [1, 2, 3]
    assert both[2] == 3, "an item without popularity comes last"


def test_the_docs_list_every_noise_type():
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    for name in NOISE_TYPES:
        assert f"| `{name}` |" in text


def test_a_noise_type_is_added_by_one_function(monkeypatch):
    monkeypatch.setattr(noise_types, "NOISE_TYPES", dict(NOISE_TYPES))

    @noise_types.register_noise_type("first", "removes the first interactions")
    def drop_first(sampler: NoiseSampler, n_interactions: int) -> Noise:
        return Noise(removed=np.arange(n_interactions))

    sampler = NoiseSampler(*interactions(0), N_ITEMS, no_interactions(), np.random.default_rng(0))
    noise = noise_types.NOISE_TYPES["first"].sample(sampler, 3)
    assert noise.removed.tolist() == [0, 1, 2]
    assert len(noise.added_items) == 0


def test_similar_items_are_of_the_kind_of_the_users():
    """Two kinds of 20 items, and each user has items of one kind; every item has ten neighbors."""
    users = np.repeat(np.arange(8), 4)
    items = np.concatenate([np.arange(4) + 20 * (user % 2) + user for user in range(8)])
    kind = np.arange(N_ITEMS) // 20
    content = np.eye(2)[kind] + 0.01 * np.random.default_rng(0).normal(size=(N_ITEMS, 2))
    sampler = NoiseSampler(
        users, items, N_ITEMS, no_interactions(), np.random.default_rng(0), lambda: content
    )
    noise = sample_noise("similar", 1.0, sampler)
    assert (kind[noise.added_items] == noise.added_users % 2).all()


def test_items_without_content_bring_no_similar_ones():
    content = ALIKE * (np.arange(N_ITEMS) >= 10)[:, None]
    rng = np.random.default_rng(0)
    sampler = NoiseSampler(*interactions(0), N_ITEMS, no_interactions(), rng, lambda: content)
    noise = sample_noise("similar", 0.4, sampler)
    assert len(noise.added_items) == round(0.4 * 96)
    assert (noise.added_items >= 10).all()
    with pytest.raises(TooMuchNoise, match="no similar item that is new"):
        sample_noise("similar", 5.0, sampler)


def test_similar_items_need_content():
    sampler = NoiseSampler(*interactions(0), N_ITEMS, no_interactions(), np.random.default_rng(0))
    with pytest.raises(TooMuchNoise, match="10 interactions have no similar item"):
        sample_noise("similar", 0.1, sampler)


def test_noise_is_not_told_from_the_others_by_its_time():
    """Added interactions have times of their own user, and the draw repeats itself."""
    noise, (users, items), _ = noise_of("random", 0.5)
    train = pl.DataFrame({"user": users, "item": items, "timestamp": users * 1000 + items})
    train = train.cast({"user": pl.UInt32, "item": pl.UInt32})
    noisy = apply_noise(train, noise, np.random.default_rng(0))
    assert noisy.equals(apply_noise(train, noise, np.random.default_rng(0)))
    added = noisy.join(train, on=["user", "item"], how="anti")
    assert len(added) == len(noise.added_items) > 10
    assert (added["timestamp"] // 1000).to_list() == added["user"].to_list()
    own = set(train["timestamp"].to_list())
    assert set(added["timestamp"].to_list()) <= own
    assert added.group_by("user").agg(pl.col("timestamp").n_unique())["timestamp"].max() > 1
    nobody = Noise(np.empty(0, np.int64), np.array([99]), np.array([0]))
    late = apply_noise(train, nobody, np.random.default_rng(0)).filter(pl.col("user") == 99)
    assert late["timestamp"].to_list() == [None]
