"""Known answers of the closed-form baselines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_zoo import CLOSED_FORM, fit, settings_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config
from ld4mrec_cli.evaluation.ranking import rank
from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.itemknn import ItemKNN, keep_largest
from ld4mrec_cli.models.ops.als import GROUP_CHUNK_SIZE, LeastSquares, _groups
from ld4mrec_cli.models.ops.ridge import BYTES_PER_ITEM_PAIR, check_memory
from ld4mrec_cli.models.registry import load_class, restore_baseline
from ld4mrec_cli.utils import memory
from ld4mrec_cli.utils.errors import UserError

TRAIN = csr_matrix(
    np.array(
        [
            [1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 0, 1, 0, 0],
            [0, 0, 1, 1, 0],
        ],
        dtype=np.float32,
    )
)


def dense_weights(model: ItemKNN | EASE) -> np.ndarray:
    """Item-item weights, row = item interacted with, column = item scored."""
    return model.score(csr_matrix(np.eye(model.weights.shape[0], dtype=np.float32))).numpy()


def test_popularity_ranks_by_the_number_of_interactions():
    scorer = fit("popularity", TRAIN, Config())
    assert scorer.score(TRAIN).tolist() == [[3.0, 2.0, 3.0, 1.0, 0.0]] * 4
    items, _ = rank(scorer, TRAIN, TRAIN, 3)
    assert items.tolist() == [[2, 3, 4], [3, 4, -1], [1, 3, 4], [0, 1, 4]]


def test_itemknn_is_cosine_similarity_by_hand():
    actual = dense_weights(fit("itemknn", TRAIN, Config()))
    expected = np.zeros((5, 5))
    for (a, b), cosine in {
        (0, 1): 2 / np.sqrt(3 * 2),
        (0, 2): 2 / 3,
        (1, 2): 1 / np.sqrt(2 * 3),
        (2, 3): 1 / np.sqrt(3),
    }.items():
        expected[a, b] = expected[b, a] = cosine
    assert_allclose(actual, expected, atol=1e-6)


def test_itemknn_weighs_users_and_degrees_by_hand():
    settings = {"user_exponent": 1.0, "source_exponent": 0.25, "target_exponent": 1.0}
    actual = dense_weights(fit("itemknn", TRAIN, Config(itemknn=settings)))
    # Items 0 and 1 meet in the users of two and of three interactions; their degrees are 3 and 2.
    assert actual[0, 1] == pytest.approx((1 / 2 + 1 / 3) / (3**0.25 * 2))
    assert actual[1, 0] == pytest.approx((1 / 2 + 1 / 3) / (2**0.25 * 3))


def test_itemknn_shrinkage_is_added_to_the_denominator():
    actual = dense_weights(fit("itemknn", TRAIN, Config(itemknn={"shrinkage": 4.0})))
    assert actual[0, 2] == pytest.approx(2 / (3 + 4))


def test_itemknn_keeps_the_nearest_neighbors_of_the_scored_item():
    actual = dense_weights(fit("itemknn", TRAIN, Config(itemknn={"neighbors": 1})))
    # Each column has one entry: 1 for 0, 0 for 1, 0 for 2 (2/3 against 0.58 and 0.41), 2 for 3.
    assert [column.nonzero()[0].tolist() for column in actual.T] == [[1], [0], [0], [2], []]


def test_keep_largest_breaks_ties_by_the_lower_index():
    matrix = csr_matrix(np.array([[0.5, 0.5, 0.9, 0.5], [0.0, 0.1, 0.0, 0.0]]))
    assert keep_largest(matrix, 2).toarray().tolist() == [
        [0.5, 0.0, 0.9, 0.0],
        [0.0, 0.1, 0.0, 0.0],
    ]


def planted_blocks(n_blocks: int, size: int) -> np.ndarray:
    """Users and items in blocks; each user has all items of the block but one."""
    n = n_blocks * size
    dense = np.kron(np.eye(n_blocks), np.ones((size, size)))
    return dense - np.eye(n)


@pytest.mark.parametrize("name", ["ease", "itemknn", "ials"])
def test_the_withheld_item_of_a_block_ranks_first(name):
    train = csr_matrix(planted_blocks(4, 6).astype(np.float32))
    scorer = fit(name, train, Config(ease={"ridge": 0.5}))
    items, _ = rank(scorer, train, train, 1)
    assert items[:, 0].tolist() == list(range(24))


def test_ease_solves_the_checkerboard():
    """Even users have even items but for the withheld diagonal, odd users odd ones."""
    n = 12
    dense = (np.add.outer(np.arange(n), np.arange(n)) % 2 == 0).astype(np.float32)
    np.fill_diagonal(dense, 0.0)
    train = csr_matrix(dense)
    items, _ = rank(fit("ease", train, Config(ease={"ridge": 0.5})), train, train, 1)
    assert items[:, 0].tolist() == list(range(n))


def test_a_cold_item_is_scored_zero_by_the_linear_models():
    for model in ("itemknn", "ease"):
        scores = fit(model, TRAIN, Config()).score(TRAIN)
        assert torch.equal(scores[:, 4], torch.zeros(4))


SETTINGS = [
    ("ease", "ridge", 1.0),
    ("ease", "degree_ridge", 40.0),
    ("ease", "user_exponent", 4.0),
    ("ease", "content_weight", 100.0),
    ("ease", "max_items", 2),
    ("ease", "neighbors", 1),
    ("ease", "nonnegative", True),
    ("itemknn", "neighbors", 1),
    ("itemknn", "shrinkage", 9.0),
    ("itemknn", "user_exponent", 1.0),
    ("itemknn", "source_exponent", 0.0),
    ("itemknn", "target_exponent", 0.0),
    ("ials", "factors", 2),
    ("ials", "unobserved_weight", 1.0),
    ("ials", "regularization", 1.0),
    ("ials", "frequency_exponent", 0.0),
    ("ials", "iterations", 1),
]


BESIDE = {
    ("ease", "max_items"): {"ridge": 0.5, "neighbors": 1},
    ("ease", "neighbors"): {"ridge": 0.5, "max_items": 2},
    ("ease", "nonnegative"): {"ridge": 0.5},
}
"""Settings without which another does not act."""


@pytest.mark.parametrize(("name", "field", "value"), SETTINGS)
def test_every_setting_of_a_fitted_baseline_acts(name, field, value):
    features = {"text": np.eye(5, 3, dtype=np.float32)}
    both = BESIDE.get((name, field), {})
    usual = fit(name, TRAIN, Config.model_validate({name: both}), features).score(TRAIN)
    config = Config.model_validate({name: {**both, field: value}})
    changed = fit(name, TRAIN, config, features).score(TRAIN)
    assert (usual - changed).abs().max() > 1e-3


def test_the_table_of_settings_is_complete():
    fields = {
        (name, field)
        for name in ("ease", "itemknn", "ials")
        for field in type(getattr(Config(), name)).model_fields
    }
    assert {(name, field) for name, field, _ in SETTINGS} == fields


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_arrays_restore_the_same_recommender(name):
    fitted = fit(name, TRAIN, Config())
    restored = load_class(name).from_arrays(fitted.arrays(), settings_of(Config(), name))
    assert torch.equal(restored.score(TRAIN), fitted.score(TRAIN))


def test_content_ranks_an_item_that_nobody_has():
    """Collective EASE: items of two kinds by their features; the last one has no interactions."""
    rng = np.random.default_rng(0)
    kinds = np.arange(12) % 2
    likes = rng.integers(0, 2, 40)
    dense = ((kinds == likes[:, None]) & (rng.random((40, 12)) < 0.6)).astype(np.float32)
    dense[:, 11] = 0.0
    features = {"text": np.stack([kinds, 1 - kinds], axis=1).astype(np.float32)}
    config = Config(ease={"ridge": 5.0, "content_weight": 10.0})
    scores = fit("ease", csr_matrix(dense), config, features).score(csr_matrix(dense)).numpy()
    assert scores[likes == 1, 11].min() > 0.01
    assert scores[likes == 0, 11].max() < 0.0
    plain = fit("ease", csr_matrix(dense), Config(ease={"ridge": 5.0}), features)
    assert_array_equal(plain.score(csr_matrix(dense))[:, 11], 0.0)


def test_a_mapping_weighs_modalities_apart():
    features = {"a": np.eye(5, 2, dtype=np.float32), "b": np.eye(5, 3, k=1, dtype=np.float32)}
    weights = {
        str(value): fit("ease", TRAIN, Config(ease={"content_weight": value}), features).weights
        for value in (0.0, 7.0, {"a": 7.0, "b": 7.0}, {"a": 7.0}, {})
    }
    zero, both, each, first, none = weights.values()
    assert_array_equal(both, each)
    assert_array_equal(zero, none)
    assert np.abs(first - both).max() > 1e-4
    assert np.abs(first - zero).max() > 1e-4


def test_ease_is_stored_dense_and_itemknn_sparse():
    ease = fit("ease", TRAIN, Config()).arrays()
    assert list(ease) == ["weights"]
    assert (ease["weights"].shape, ease["weights"].dtype) == ((5, 5), np.float32)
    assert set(fit("itemknn", TRAIN, Config()).arrays()) == {"data", "indices", "indptr"}


def test_weights_stored_sparse_or_dense_score_the_same():
    dense = fit("ease", TRAIN, Config())
    sparse = EASE.from_arrays(EASE(csr_matrix(dense.weights)).arrays(), Config().ease)
    torch.testing.assert_close(sparse.score(TRAIN), dense.score(TRAIN))


def test_ease_refuses_a_catalog_that_does_not_fit_into_memory(monkeypatch):
    needed = BYTES_PER_ITEM_PAIR * 5**2
    monkeypatch.setattr(memory, "physical_memory", lambda: needed)
    fit("ease", TRAIN, Config())
    monkeypatch.setattr(memory, "physical_memory", lambda: needed - 1)
    with pytest.raises(
        UserError, match=r"ease needs about .* GB for 5 items.*ease\.max_items"
    ) as caught:
        fit("ease", TRAIN, Config())
    assert caught.value.exit_code == 2
    fit("itemknn", TRAIN, Config())


def test_the_refusal_names_items_and_gigabytes(monkeypatch):
    monkeypatch.setattr(memory, "physical_memory", lambda: 16 * 10**9)
    with pytest.raises(
        UserError, match=r"ease needs about 80\.0 GB for 100,000 items, this machine has 16\.0"
    ):
        check_memory(100_000)


def test_a_machine_that_does_not_tell_its_memory_refuses_nothing(monkeypatch):
    assert memory.physical_memory() is None or memory.physical_memory() > 2**20

    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(memory.os, "sysconf", unknown, raising=False)
    assert memory.physical_memory() is None
    check_memory(10**9)
    monkeypatch.delattr(memory.os, "sysconf")
    assert memory.physical_memory() is None


def test_arrays_of_a_fitted_baseline_stay_on_the_cpu(monkeypatch):
    """There is no NumPy on a GPU: whatever the device, `restore` must not move them."""
    arrays = {"degree": torch.tensor([1.0, 2.0])}
    assert restore_baseline("popularity", arrays, None, torch.device("meta")).score(
        TRAIN[:1, :2]
    ).tolist() == [[1.0, 2.0]]
    factors = {name: torch.ones(2, 2) for name in ("user_factors", "item_factors")} | {
        "item_bias": torch.ones(2)
    }
    assert restore_baseline("bpr", factors, None, torch.device("meta")).users.device.type == "meta"


@pytest.mark.parametrize("factors", [8, 512])
def test_ials_bounds_the_memory_of_a_group(factors):
    degree = np.random.default_rng(0).integers(0, 300, size=50_000)
    groups = list(_groups(degree, factors))
    assert (
        sorted(np.concatenate([chosen for _, chosen in groups])) == np.flatnonzero(degree).tolist()
    )
    for size, chosen in groups:
        assert (degree[chosen] == size).all()
        assert len(chosen) * factors * max(size, factors) <= GROUP_CHUNK_SIZE
    assert len(groups) < 1000


def test_ials_solves_its_normal_equations():
    """Rows with fewer and with more interactions than factors, and an empty row."""
    rng = np.random.default_rng(0)
    rows = csr_matrix((rng.random((30, 40)) < np.linspace(0, 0.9, 30)[:, None]).astype(np.float32))
    other = torch.from_numpy(rng.normal(size=(40, 12)).astype(np.float32))
    settings = IALSConfig(unobserved_weight=0.2, regularization=0.05, frequency_exponent=0.5)
    degree, v = np.diff(rows.indptr), other.numpy().astype(np.float64)
    assert degree.min() == 0
    assert 0 < degree[degree > 0].min() < 12 < degree.max()
    actual = LeastSquares(other, settings).solve(rows).numpy()
    for user in range(30):
        vectors = v[rows[user].indices]
        ridge = 0.05 * (degree[user] + 0.2 * 40) ** 0.5
        system = 0.2 * v.T @ v + vectors.T @ vectors + ridge * np.eye(12)
        assert_allclose(actual[user], np.linalg.solve(system, vectors.sum(axis=0)), atol=1e-5)


def test_a_small_ridge_is_not_drowned_by_rounding():
    """Fewer items than factors, so that most directions have the ridge alone."""
    rng = np.random.default_rng(1)
    rows = csr_matrix((rng.random((30, 20)) < 0.3).astype(np.float32))
    other = torch.from_numpy(rng.normal(size=(20, 64)).astype(np.float32))
    settings = IALSConfig(unobserved_weight=1.0, regularization=1e-5, frequency_exponent=0.0)
    v = other.numpy().astype(np.float64)
    actual = LeastSquares(other, settings).solve(rows).numpy().astype(np.float64) @ v.T
    for user in range(30):
        vectors = v[rows[user].indices]
        expected = v @ np.linalg.solve(
            v.T @ v + vectors.T @ vectors + 1e-5 * np.eye(64), vectors.sum(axis=0)
        )
        assert_allclose(actual[user], expected, atol=1e-4)


def test_no_rows_have_no_vectors_and_vectors_that_are_not_finite_name_the_setting():
    settings = IALSConfig(factors=4)
    assert LeastSquares(torch.ones(5, 4), settings).solve(
        csr_matrix((0, 5), dtype=np.float32)
    ).shape == (0, 4)
    with pytest.raises(UserError, match=r"Raise ials\.regularization"):
        LeastSquares(torch.full((5, 4), torch.nan), settings).solve(
            csr_matrix(np.ones((1, 5), dtype=np.float32))
        )


def test_equations_without_a_solution_name_the_setting():
    settings = {"regularization": 1e-30, "frequency_exponent": 0.0, "factors": 64}
    with pytest.raises(UserError, match=r"Raise ials\.regularization"):
        fit("ials", TRAIN, Config(ials=settings))
    duplicates = csr_matrix(np.ones((3, 2), dtype=np.float32))
    with pytest.raises(UserError, match="Raise the ridge"):
        fit("ease", duplicates, Config(ease={"ridge": 1e-30}))
