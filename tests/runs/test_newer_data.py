"""A run is evaluated on newer data of the same catalog; what it cannot be asked is said."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.row_values import RowValues, add_newer
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.evaluations import read_evaluations
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.training.session import Callbacks, train
from ld4mrec_cli.utils.errors import DatasetError, UnknownIdError

CPU = torch.device("cpu")
OPTIONS = EvaluationConfig(k=(5, 10))
LABELS = {"train": 0, "valid": 1, "test": 2}
EASE, BPR = "ease", "bpr"


def rows_of(dataset):
    """User, item and label of every interaction, in raw ids."""
    for split, label in LABELS.items():
        for user, item in dataset.interactions(split).select("user", "item").iter_rows():
            yield dataset.users[user], dataset.items[item], label


@pytest.fixture(scope="module")
def own(planted_dataset):
    return Dataset.open(planted_dataset)


@pytest.fixture
def newer(tmp_path, own):
    """Prepare the run's interactions, changed, with more of them."""

    def make(more=(), keep=lambda row: True, name="newer"):
        rows = [row for row in rows_of(own) if keep(row)] + list(more)
        raw = tmp_path / name
        raw.mkdir()
        columns = dict(zip(("user", "item", "split"), zip(*rows, strict=True), strict=True))
        pl.DataFrame(columns).write_csv(raw / "interactions.csv")
        prepare(raw, raw / "data", PrepareConfig(k_core=0))
        return Dataset.open(raw / "data")

    return make


@pytest.fixture
def run(planted_config, tmp_path):
    def make(model):
        return train(planted_config(model_name=model), tmp_path / model, Callbacks())

    return make


# They stand at the front of the order of ids, so that every index is another one.
NEW_IDS = [("a-user", "item-0100", 0), ("user-0001", "a-item", 0), ("a-user", "a-item", 0)]


@pytest.mark.parametrize("model", ["ld4mrec", "ease", "ials", "bpr", "popularity"])
@pytest.mark.parametrize("mask", ["train", "train+valid"])
def test_the_same_questions_have_the_same_answers(run, own, newer, model, mask):
    """Known answer: newer data whose test split is that of the run, under other indices."""
    trained, options = run(model), EvaluationConfig(k=(5, 10), mask=mask)
    expected = evaluate_run(trained, own, "test", options, CPU)
    data, notes, lists = newer(NEW_IDS), [], []
    found = evaluate_run(
        trained,
        data,
        "test",
        options,
        CPU,
        on_note=notes.append,
        on_unknown="error",
        on_lists=lambda users, items, _: lists.extend(users),
    )
    of_users = {metric for metric in expected.metrics if not metric.startswith("popularity")}
    assert {m: found.metrics[m] for m in of_users} == pytest.approx(
        {m: expected.metrics[m] for m in of_users}, abs=1e-9
    )
    assert notes == ["the histories lack 2 interactions with items that the run does not know"]
    assert [data.users[u] for u in lists] == [own.users[u] for u in expected.users]
    measured = read_evaluations(trained.path).splits
    assert measured["newer test"][10].dataset_hash == data.hash
    assert measured["test"][10].dataset_hash == own.hash


def test_what_the_run_does_not_know_is_an_error_or_is_skipped_and_counted(run, newer):
    trained = run(BPR)
    asked = [
        ("a-user", "item-0101", 2),  # bpr has no vector of this user
        ("user-0001", "a-item", 2),
        ("b-user", "a-item", 2),
    ]
    data = newer([("a-user", "item-0100", 0), *asked])
    message = r"newer/data: the test split has 1 item and 2 users that .*/bpr does not know\. "
    with pytest.raises(UnknownIdError, match=message + "--on-unknown skip leaves them out"):
        evaluate_run(trained, data, "test", OPTIONS, CPU, on_unknown="error")
    notes = []
    result = evaluate_run(
        trained, data, "test", OPTIONS, CPU, on_note=notes.append, on_unknown="skip"
    )
    n_asked = data.schema.splits["test"].interactions
    assert notes == [
        f"left out: 3 of the {n_asked:,} interactions of the test split, "
        "of 1 item and 2 users that the run does not know"
    ]
    assert data.users.index("a-user") not in result.users


def test_new_users_are_scored_by_their_history_where_the_model_can(run, own, newer):
    trained = run(EASE)
    history = own.interactions("train").filter(pl.col("user") == 3)["item"].to_list()
    twin, loved = "a-twin", own.items[history[0]]
    more = [(twin, own.items[item], 0) for item in history[1:]]
    data = newer([*more, (twin, loved, 2), ("b-user", loved, 2)])
    with pytest.raises(UnknownIdError, match="has 1 user that"):  # b-user has no history
        evaluate_run(trained, data, "test", OPTIONS, CPU, on_unknown="error")
    notes, lists = [], {}
    result = evaluate_run(
        trained,
        data,
        "test",
        OPTIONS,
        CPU,
        on_note=notes.append,
        on_unknown="skip",
        on_lists=lambda users, items, _: lists.update(zip(users, items.tolist(), strict=True)),
    )
    assert "scored by their newer history: 1 users that the run does not know" in notes
    user = data.users.index(twin)
    assert user in result.users
    assert data.users.index("b-user") not in result.users
    # The list is that of the history, by the scores of the model itself.
    from ld4mrec_cli.serving.recommender import Recommender

    listed = Recommender(trained, CPU).for_history([own.items[i] for i in history[1:]], 10)
    assert [own.items[item] for item in lists[user]] == [entry.item for entry in listed.items]


def test_what_the_run_was_trained_on_is_no_target(run, own, newer):
    trained = run(EASE)
    few = {(own.users[u], own.items[i]) for u, i in _head(own, "train", 20)}
    moved = [(user, item, 2) for user, item in few]
    data = newer(moved, keep=lambda row: row[:2] not in few)
    notes, lists = [], {}
    evaluate_run(
        trained,
        data,
        "test",
        OPTIONS,
        CPU,
        on_note=notes.append,
        on_unknown="skip",
        on_lists=lambda users, items, _: lists.update(zip(users, items.tolist(), strict=True)),
    )
    n_asked = data.schema.splits["test"].interactions
    assert notes == [
        f"left out: 20 of the {n_asked:,} interactions of the test split, "
        "which were training data before"
    ]
    listed = {(data.users[u], own.items[i]) for u, row in lists.items() for i in row}
    assert not listed & few
    # A split that exchanges training and test data cannot be asked for at all.
    swapped = newer(
        [(user, item, 2 - label) for user, item, label in rows_of(own)], lambda row: False, "swap"
    )
    with pytest.raises(DatasetError, match=r"of the test split were training data before\. Split"):
        evaluate_run(trained, swapped, "test", OPTIONS, CPU, on_unknown="skip")


def _head(dataset, split, n):
    return dataset.interactions(split).head(n).select("user", "item").iter_rows()


def test_the_newer_histories_are_read(run, own, newer):
    """A user's newer purchase changes the list, and is not listed."""
    trained = run(EASE)
    user, seen = own.users[5], {}
    bought = set(own.matrix("train", "valid", "test")[5].indices)
    new = next(i for i in range(own.shape[1]) if i not in bought)
    for name, more in (("without", []), ("with", [(user, own.items[new], 0)])):
        data = newer([*more, ("a-user", own.items[3], 0)], name=name)
        evaluate_run(
            trained,
            data,
            "test",
            EvaluationConfig(k=(200,)),
            CPU,
            on_unknown="skip",
            on_lists=lambda users, items, scores, name=name, data=data: seen.update(
                {
                    (name, data.users[u]): dict(zip(row, score, strict=True))
                    for u, row, score in zip(users, items, scores, strict=True)
                }
            ),
        )
    assert new in seen["without", user]
    assert new not in seen["with", user]
    assert not np.allclose(
        [seen["with", user][i] for i in range(50) if i in seen["with", user]],
        [seen["without", user][i] for i in range(50) if i in seen["with", user]],
    )


def test_another_dataset_is_not_taken_by_mistake(run, newer):
    """Only who names newer data has them; a dataset that was prepared anew is refused."""
    with pytest.raises(DatasetError, match=r"is not the dataset that .* --data names newer data"):
        evaluate_run(run(EASE), newer(NEW_IDS), "test", OPTIONS, CPU)


def test_what_a_refit_knows_keeps_its_weight_and_gets_older():
    values = RowValues(half_life=1.0)
    known = csr_matrix(np.array([[0.25, 0.5, 0.0], [0.2, 0.0, 0.0]], dtype=np.float32))
    newer = csr_matrix(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=np.float32))
    rows = add_newer(known, newer, values).toarray()
    np.testing.assert_allclose(rows, [[0.125, 0.25, 1.0], [0.2, 0.0, 0.0]])
    again = csr_matrix(np.array([[0.25, 0.5, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(add_newer(known, again, values).toarray(), known.toarray())
