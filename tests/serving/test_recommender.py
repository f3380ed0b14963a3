from __future__ import annotations

import shutil

import pytest
import torch

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import SPLITS
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.serving.recommender import Recommender
from ld4mrec_cli.training.session import Callbacks, train
from ld4mrec_cli.utils.errors import RunError, UnknownIdError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(planted_dataset) -> Dataset:
    return Dataset.open(planted_dataset)


@pytest.fixture(params=["ld4mrec", "ld4mrec in 3 steps", "ease", "popularity"])
def recommender(request, planted_config, tmp_path) -> Recommender:
    name, *steps = request.param.split(" in ")
    noisy = {"diffusion__noise_scale": 5.0, "diffusion__inference_steps": 3} if steps else {}
    run = train(
        planted_config(model_name=name, training__max_epochs=1, **noisy),
        tmp_path / "run",
        Callbacks(),
    )
    return Recommender(RunDirectory.open(run.path), CPU)


def history_of(dataset: Dataset, user: str) -> list[str]:
    return [
        dataset.items[item] for item in dataset.matrix(*SPLITS)[dataset.users.index(user)].indices
    ]


def test_seen_items_are_left_out_unless_asked_for(recommender, dataset):
    users, n_items = dataset.users.ids[:20], len(dataset.items)
    for found in recommender.for_users(users, n_items):
        seen = set(history_of(dataset, found.user))
        assert {entry.item for entry in found.items} == set(dataset.items.ids) - seen
    for found in recommender.for_users(users, n_items, include_seen=True):
        assert {entry.item for entry in found.items} == set(dataset.items.ids)


def test_lists_are_ranked_and_titled(recommender, dataset):
    found = next(recommender.for_users(dataset.users.ids[:1], 10))
    scores = [entry.score for entry in found.items]
    assert scores == sorted(scores, reverse=True)
    assert len({entry.item for entry in found.items}) == 10
    titles = dict(zip(dataset.items.ids, dataset.titles, strict=True))
    assert [entry.title for entry in found.items] == [titles[entry.item] for entry in found.items]


def test_users_come_in_the_order_asked_for_whatever_the_batches(recommender, dataset):
    users = [dataset.users.ids[i] for i in (7, 3, 250, 3)]
    small = list(recommender.for_users(users, 5, batch_size=2))
    large = list(recommender.for_users(users, 5))
    assert [found.user for found in small] == users
    for one, other in zip(small, large, strict=True):
        assert [entry.item for entry in one.items] == [entry.item for entry in other.items]


@pytest.mark.parametrize("include_seen", [False, True])
def test_the_history_of_a_training_user_gives_that_users_list(recommender, dataset, include_seen):
    for user in dataset.users.ids[5:8]:
        known = next(recommender.for_users([user], 15, include_seen=include_seen))
        # Neither order nor repetition of the history matters.
        history = history_of(dataset, user)[::-1]
        new = recommender.for_history([*history, history[0]], 15, include_seen=include_seen)
        assert new.user is None
        assert new.items == known.items


def test_unknown_ids_are_refused_before_any_list_is_made(recommender, dataset):
    known = dataset.users.ids[0]
    with pytest.raises(UnknownIdError, match="unknown user 'nobody'"):
        recommender.for_users([known, "nobody"], 5)
    with pytest.raises(UnknownIdError, match=f"unknown user '{known}x'. Did you mean 'user-"):
        recommender.for_users([f"{known}x"], 5)
    with pytest.raises(UnknownIdError, match="unknown item 'nothing'"):
        recommender.for_history(["nothing"], 5)


def test_a_list_is_no_longer_than_the_catalog(recommender, dataset):
    n_items = len(dataset.items)
    history = dataset.items.ids[:3]
    assert len(recommender.for_history(history, 10 * n_items).items) == n_items - 3
    assert len(recommender.for_history(history, 10 * n_items, include_seen=True).items) == n_items


def test_someone_without_any_history_gets_a_list(recommender):
    assert len(recommender.for_history([], 5).items) == 5


def test_no_users_give_no_lists(recommender):
    assert list(recommender.for_users([], 5)) == []


@pytest.mark.parametrize(
    "name", ["users.parquet", "items.parquet", "train.parquet", "test.parquet"]
)
def test_damaged_serving_tables_are_refused(planted_config, dataset, tmp_path, name):
    run = train(planted_config(model_name="popularity"), tmp_path / "run", Callbacks())
    path = run.path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=f"{name}: is damaged"):
        list(Recommender(RunDirectory.open(run.path), CPU).for_users(dataset.users.ids[:1], 5))


def test_a_run_serves_without_its_dataset(planted_config, planted_dataset, tmp_path):
    path = tmp_path / "data"
    shutil.copytree(planted_dataset, path)
    run = train(planted_config(data__path=str(path)), tmp_path / "run", Callbacks())
    shutil.rmtree(path)
    moved = run.path.rename(tmp_path / "moved")
    recommender = Recommender(RunDirectory.open(moved), CPU)
    assert len(next(recommender.for_users(recommender.users.ids[:1], 5)).items) == 5
