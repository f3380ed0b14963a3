"""A refit: a run's settings and epochs on every interaction, and what it may not be used for."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
import torch

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.splits import SPLITS
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.serving.recommender import Recommender
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.training.refit import refit
from ld4mrec_cli.training.session import Callbacks, resume, train
from ld4mrec_cli.utils.errors import DatasetError, RunError, TrainingInterrupted, UnknownIdError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(planted_dataset) -> Dataset:
    return Dataset.open(planted_dataset)


def make(planted_config, tmp_path, model, **settings):
    return train(planted_config(model_name=model, **settings), tmp_path / model, Callbacks())


def weights(run):
    return run.load_tensors("weights.safetensors")


@pytest.mark.parametrize("model", ["ld4mrec", "ease", "bpr"])
def test_a_refit_is_the_training_on_a_dataset_without_a_split(
    planted_config, dataset, tmp_path, model
):
    """By definition: all splits merged, as many epochs as the best one, no validation."""
    run = make(planted_config, tmp_path, model, training__max_epochs=4, training__patience=1)
    done = refit(run, None, tmp_path / "refit", Callbacks())
    epochs = run.manifest.best.epoch
    assert (done.manifest.epochs, done.manifest.best) == (epochs, None)
    assert done.manifest.refit_of.run == str(run.path.resolve())
    assert done.manifest.refit_of.epochs == epochs
    assert [line["valid"] for line in done.read_metrics()] == [None] * epochs
    # The same by hand: everything is in the training split of a copy.
    merged = shutil.copytree(dataset.directory, tmp_path / "merged")
    for split in ("valid", "test"):
        dataset.interactions(split).clear().write_parquet(merged / f"{split}.parquet")
    tables = [dataset.interactions(split) for split in SPLITS]
    pl.concat(tables).sort("user", "item").write_parquet(merged / "train.parquet")
    schema = json.loads((merged / "schema.json").read_text())
    for split, table in zip(SPLITS, (pl.concat(tables), *2 * [tables[0].clear()]), strict=True):
        schema["splits"][split]["interactions"] = len(table)
        schema["files"][f"{split}.parquet"] = _sha(merged, split)
    (merged / "schema.json").write_text(json.dumps(schema))
    by_hand = refit(run, merged, tmp_path / "by-hand", Callbacks())
    for name, tensor in weights(done).items():
        assert torch.equal(tensor, weights(by_hand)[name]), name
    assert not all(
        torch.equal(tensor, weights(done)[name]) for name, tensor in weights(run).items()
    )


def _sha(directory, split):
    from ld4mrec_cli.utils.files import sha256

    return sha256(directory / f"{split}.parquet")


def test_an_interrupted_refit_resumes_to_the_same_weights(planted_config, tmp_path):
    run = make(planted_config, tmp_path, "ld4mrec", training__max_epochs=3, training__patience=3)
    run.update(best=run.manifest.best.model_copy(update={"epoch": 3}))
    whole = refit(run, None, tmp_path / "whole", Callbacks())

    def stop(report):
        if report.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted, match="interrupted after epoch 2"):
        refit(run, None, tmp_path / "parts", Callbacks(on_epoch=stop))
    resumed = resume(tmp_path / "parts", None, Callbacks())
    assert resumed.manifest.epochs == 3
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_a_refit_serves_and_lists_nothing_that_is_known(planted_config, dataset, tmp_path):
    done = refit(make(planted_config, tmp_path, "ease"), None, tmp_path / "refit", Callbacks())
    known = dataset.matrix(*SPLITS)
    recommender = Recommender(RunDirectory.open(done.path), CPU)
    assert (recommender.known != known).nnz == 0
    for ranked in recommender.for_users(dataset.users.ids, 20):
        own = {dataset.items[i] for i in known[dataset.users.index(ranked.user)].indices}
        assert len(ranked.items) == 20
        assert not own & {entry.item for entry in ranked.items}


def test_a_refit_of_a_refit_has_the_same_number_of_epochs(planted_config, tmp_path):
    run = make(planted_config, tmp_path, "ld4mrec", training__max_epochs=3)
    first = refit(run, None, tmp_path / "first", Callbacks())
    second = refit(first, None, tmp_path / "second", Callbacks())
    assert first.manifest.epochs == second.manifest.epochs == run.manifest.best.epoch
    assert second.manifest.refit_of.run == str(first.path.resolve())


def test_an_unfinished_run_is_not_refit(planted_config, tmp_path):
    run = make(planted_config, tmp_path, "ease")
    run.update(status="interrupted")
    with pytest.raises(RunError, match="this run is interrupted"):
        refit(run, None, tmp_path / "refit", Callbacks())
    assert not (tmp_path / "refit").exists()


def test_a_dataset_without_a_split_is_trained_by_refit_alone(planted_config, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    write_synthetic(raw, seed=1, size=SyntheticSize(users=60, items=40, interactions_per_user=8))
    schema = prepare(raw, tmp_path / "none", PrepareConfig(split="none")).schema
    assert schema.split_method == "none"
    assert schema.splits["train"].interactions == schema.n_interactions > 0
    with pytest.raises(DatasetError, match=r"the valid split is empty. Refit a run on it"):
        train(planted_config(data__path=str(tmp_path / "none")), tmp_path / "run", Callbacks())
    assert not (tmp_path / "run").exists()
    source = make(planted_config, tmp_path, "ease")
    done = refit(source, tmp_path / "none", tmp_path / "refit", Callbacks())
    assert done.manifest.dataset.n_items == schema.n_items


OPTIONS = EvaluationConfig(k=(5,))


def test_a_refit_is_not_evaluated_on_the_data_it_has_seen(planted_config, dataset, tmp_path):
    done = refit(make(planted_config, tmp_path, "ease"), None, tmp_path / "refit", Callbacks())
    for split in ("test", "valid"):
        with pytest.raises(RunError, match="it has seen the test split"):
            evaluate_run(done, dataset, split, OPTIONS, CPU)


def test_a_refit_is_evaluated_on_newer_data(planted_config, tmp_path):
    """Targets are what the run does not know; ids are matched by their raw form."""
    raw, newer = tmp_path / "raw", tmp_path / "newer"
    for path in (raw, newer):
        path.mkdir()
    users = [f"u{n}" for n in range(30)]
    old = [(user, f"i{(n + step) % 12}") for n, user in enumerate(users) for step in range(6)]
    today = [(user, f"i{(n + 6) % 12}") for n, user in enumerate(users)]
    odd = [("u1", "brand-new"), ("stranger", "i3"), ("stranger", "i4")]
    for path, rows, labels in (
        (raw, old, [0, 0, 0, 0, 1, 2] * 30),
        (newer, old + today + odd, [0] * 180 + [2] * 30 + [2, 2, 1]),
    ):
        lines = [f"{u},{i},{s}" for (u, i), s in zip(rows, labels, strict=True)]
        (path / "interactions.csv").write_text("user,item,split\n" + "\n".join(lines))
        prepare(path, path / "data", PrepareConfig())
    settings = {"data__path": str(raw / "data"), "model_name": "itemknn"}
    done = refit(
        train(planted_config(**settings), tmp_path / "run", Callbacks()),
        None,
        tmp_path / "refit",
        Callbacks(),
    )
    notes, seen = [], []
    with pytest.raises(UnknownIdError, match=r"1 item and 1 user that .* --on-unknown skip"):
        evaluate_run(done, Dataset.open(newer / "data"), "test", OPTIONS, CPU)
    result = evaluate_run(
        done,
        Dataset.open(newer / "data"),
        "test",
        EvaluationConfig(k=(6,)),
        CPU,
        on_lists=lambda users, items, scores: seen.append((users, items)),
        on_note=notes.append,
        on_unknown="skip",
    )
    assert len(result.users) == 30
    assert result.metrics["recall@6"] == 1.0  # 6 items are left for each user
    assert notes == [
        "left out: 2 of the 32 interactions of the test split, "
        "of 1 item and 1 user that the run does not know"
    ]
    recommender, names = Recommender(done, CPU), Dataset.open(newer / "data").users
    for listed, items in seen:
        for user, row in zip(listed, items, strict=True):
            known = recommender.known[recommender.users.index(names[user])].indices
            assert not set(known) & set(row)
    listed = [names[user] for batch, _ in seen for user in batch]
    assert listed == sorted(users)
    with pytest.raises(DatasetError, match="the valid split has no interaction that is new"):
        evaluate_run(done, Dataset.open(newer / "data"), "valid", OPTIONS, CPU, on_unknown="skip")


def test_a_refit_has_the_weights_of_the_mixture_that_validation_chose(planted_config, tmp_path):
    run = make(planted_config, tmp_path, "ld4mrec", model__ials=True, model__ials_dim=4)
    run.update(mixture={"ease": 0.25, "ials": 2.0})
    done = refit(run, None, tmp_path / "refit", Callbacks())
    assert done.manifest.mixture == {"ease": 0.25, "ials": 2.0}
    assert load_scorer(RunDirectory.open(done.path), CPU).mixture.scales == done.manifest.mixture
