"""`train --init`: a training starts from the weights of a run on older data."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
import torch
from run_files import edit_manifest

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.learned import inherited_interactions
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.training.refit import refit
from ld4mrec_cli.training.session import Callbacks, resume, train
from ld4mrec_cli.utils.errors import DatasetError, RunError, TrainingInterrupted

CPU = torch.device("cpu")
TRAINED = [name for name, spec in MODELS.items() if not spec.closed_form]
SMALL = {
    "training__max_epochs": 2,
    "training__ema_decay": 0.0,
    "diffrec__hidden_dims": [16],
    "multvae__hidden_dim": 16,
    "multvae__latent_dim": 8,
}


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """The same shop on two days: the older one lacks the last interactions, users and items."""
    root = tmp_path_factory.mktemp("nights")
    raw = root / "raw"
    raw.mkdir()
    write_synthetic(raw, seed=4, size=SyntheticSize(users=120, items=80, interactions_per_user=9))
    today = pl.read_csv(raw / "interactions.csv").sort("timestamp")
    options = PrepareConfig(split="global-time", k_core=0, text_dim=8)
    prepare(raw, root / "today", options)
    older = root / "older"
    shutil.copytree(raw, older)
    gone = pl.col("user").is_in([f"user-{n:04d}" for n in range(5)])
    gone |= pl.col("item").is_in([f"item-{n:04d}" for n in range(4)])
    today.head(int(0.85 * len(today))).filter(~gone).write_csv(older / "interactions.csv")
    prepare(older, root / "yesterday", options)
    return root


@pytest.fixture
def begin(planted_config, nights, tmp_path):
    """Train on a day and return the run."""

    def start(day, name="run", init=None, callbacks=None, **settings):
        config = planted_config(**{**SMALL, "data__path": str(nights / day), **settings})
        return train(config, tmp_path / name, callbacks or Callbacks(), init=init)

    return start


def weights(run):
    name = "parameters.safetensors"
    return run.load_tensors(name if name in run.manifest.files else "weights.safetensors")


@pytest.mark.parametrize("model", TRAINED)
def test_a_model_starts_from_yesterdays_weights(begin, nights, model):
    old = begin("yesterday", "old", model_name=model)
    one = {"training__max_epochs": 1, "training__learning_rate": 1e-9}
    run = begin("today", model_name=model, init=old, **one)
    fresh = begin("today", "fresh", model_name=model, **one)
    source = run.manifest.init_from
    assert source.run == str(old.path.resolve())
    assert source.dataset_hash == old.manifest.dataset.hash
    assert source.weights_hash in old.manifest.files.values()
    today, yesterday = (Dataset.open(nights / day) for day in ("today", "yesterday"))
    assert (source.users, source.items) == yesterday.shape
    # The rows of an item that both have, and of one that is new.
    own = {
        "ld4mrec": "cnet.encoder",
        "multvae": "encoder",
        "diffrec": "layers.1.bias",
        "cfgan": "generator.encoder",
    }
    key = own.get(model) or ("weights.vectors" if model == "lightgcn" else "weights.items")
    offset = (yesterday.shape[0], today.shape[0]) if model == "lightgcn" else (0, 0)
    shared, new = "item-0010", "item-0001"
    before = weights(old)[key][offset[0] + yesterday.items.index(shared)]
    now, anew = weights(run)[key], weights(fresh)[key]
    row = offset[1] + today.items.index(shared)
    torch.testing.assert_close(now[row], before, rtol=0, atol=1e-5)
    assert (anew[row] - before).abs().max() > 1e-3
    row = offset[1] + today.items.index(new)
    torch.testing.assert_close(now[row], anew[row], rtol=0, atol=1e-5)


def test_it_starts_better_and_serves(begin, nights):
    alone = {"model__ease": False}  # C-Net
    old = begin("yesterday", "old", training__max_epochs=12, training__patience=12, **alone)
    run, fresh = (
        begin("today", name, init=init, training__max_epochs=1, **alone)
        for name, init in (("run", old), ("fresh", None))
    )
    metric = "ndcg@20"
    assert run.manifest.best.valid[metric] > fresh.manifest.best.valid[metric]
    assert "weights" not in " ".join(run.manifest.notes)  # the signals are those of yesterday
    options = EvaluationConfig(k=(10,))
    evaluate_run(run, Dataset.open(nights / "today"), "test", options, CPU)


def test_the_same_seed_gives_the_same_run(begin):
    old = begin("yesterday", "old")
    one, other = (begin("today", name, init=old) for name in ("one", "other"))
    assert one.manifest.files == other.manifest.files


def interrupt(report):
    if report.epoch == 1:
        raise KeyboardInterrupt


def test_the_checkpoint_wins_on_resume(begin, tmp_path):
    old = begin("yesterday", "old")
    whole = begin("today", "whole", init=old)
    with pytest.raises(TrainingInterrupted):
        begin("today", "parts", init=old, callbacks=Callbacks(on_epoch=interrupt))
    with pytest.raises(RunError, match=r"this run started from .*old, not from .*whole. Resume"):
        resume(tmp_path / "parts", None, Callbacks(), init=whole)
    shutil.move(old.path, tmp_path / "away")  # no longer needed
    done = resume(tmp_path / "parts", None, Callbacks())
    assert done.manifest.files == whole.manifest.files


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(begin, tmp_path):
    old = begin("yesterday", "old")
    whole = begin("today", "whole", init=old)

    def kill(trainer):
        raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        begin("today", "parts", init=old, callbacks=Callbacks(on_start=kill))
    (tmp_path / "parts" / "checkpoint.safetensors").unlink(missing_ok=True)
    done = resume(tmp_path / "parts", None, Callbacks(), init=old)
    assert done.manifest.files == whole.manifest.files


def test_a_start_that_is_gone_or_changed_is_said(begin, tmp_path):
    old = begin("yesterday", "old")

    def kill(stage):
        if stage.startswith("starting from"):
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        begin("today", "parts", init=old, callbacks=Callbacks(on_stage=kill))
    edit_manifest(old.path, lambda values: values["files"].update({"weights.safetensors": "0"}))
    with pytest.raises(RunError, match="is no longer the run that this one starts from"):
        resume(tmp_path / "parts", None, Callbacks())
    shutil.rmtree(old.path)
    with pytest.raises(RunError, match="the run that this one starts from is gone"):
        resume(tmp_path / "parts", None, Callbacks())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model__hidden_dim": 8}, "model.hidden_dim is 16 there and 8 here. Train with its"),
        ({"model__bd_blocks": 2}, "model.bd_blocks is 1 there and 2 here"),
        ({"training__loss": "mse"}, "training.loss is 'multinomial' there and 'mse' here"),
        ({"model_name": "bpr"}, "is a run of ld4mrec, not of bpr. Start from a run of bpr"),
        ({"model_name": "ease"}, "ease is solved at once, so it starts from no run"),
        ({"data__modalities": ["text"]}, "with the modalities image, text, .* has text. Choose"),
        ({"model__guidance": ["text", "image"]}, "model.guidance is None there and"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    begin, tmp_path, settings, message
):
    old = begin("yesterday", "old")
    with pytest.raises(RunError, match=message):
        begin("today", init=old, **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


def test_unfinished_runs_and_other_catalogs_are_refused(begin, planted_config, tmp_path):
    old = begin("yesterday", "old")
    raw = tmp_path / "raw"
    raw.mkdir()
    write_synthetic(raw, seed=1, size=SyntheticSize(users=60, items=40, interactions_per_user=8))
    table = pl.read_csv(raw / "interactions.csv").with_columns(item="x" + pl.col("item"))
    table.write_csv(raw / "interactions.csv")
    items = pl.read_csv(raw / "items.csv").with_columns(item="x" + pl.col("item"))
    items.write_csv(raw / "items.csv")
    prepare(raw, tmp_path / "other", PrepareConfig(text_dim=8))
    with pytest.raises(RunError, match=r"shares no item with .*other"):
        begin("today", init=old, data__path=str(tmp_path / "other"))
    old.update(status="interrupted")
    with pytest.raises(RunError, match=r"this run is interrupted\. Finish it with"):
        begin("today", init=old)
    assert not (tmp_path / "run").exists()


def test_runs_of_an_earlier_version_are_refused(begin):
    old = begin("yesterday", "old", model_name="bpr")
    edit_manifest(old.path, lambda values: values["files"].pop("parameters.safetensors"))
    with pytest.raises(RunError, match="of an earlier version, which kept no weights"):
        begin("today", init=RunDirectory.open(old.path), model_name="bpr")


def test_features_that_are_others_start_anew_and_are_said(begin, nights, planted_config, tmp_path):
    """Text vectors in place of unrelated ones of the same size."""
    changed = shutil.copytree(nights / "today", tmp_path / "changed")
    import numpy as np

    from ld4mrec_cli.utils.files import sha256

    path = changed / "features" / "text.npy"
    np.save(path, np.random.default_rng(0).normal(size=np.load(path).shape).astype(np.float32))
    schema = json.loads((changed / "schema.json").read_text())
    schema["files"]["features/text.npy"] = sha256(path)
    (changed / "schema.json").write_text(json.dumps(schema))
    for model in ("ld4mrec", "freedom"):
        old = begin("yesterday", f"old-{model}", model_name=model)
        run = begin("today", model, init=old, model_name=model, data__path=str(changed))
        said = [note for note in run.manifest.notes if "its weights start anew" in note]
        assert len(said) == 1
        assert "the signal 'text' is not that of" in said[0]


def test_what_yesterday_learned_is_no_target_today(begin, nights, tmp_path):
    """A random split of today's data puts some of yesterday's training data into its splits."""
    old = begin("yesterday", "old")
    random = tmp_path / "random"
    raw = nights / "raw"
    prepare(raw, random, PrepareConfig(split="random", k_core=0, text_dim=8))
    with pytest.raises(DatasetError, match=r"of the valid split were training data before. Split"):
        begin("today", init=old, data__path=str(random))
    assert not (tmp_path / "run").exists()
    temporal = tmp_path / "temporal"
    prepare(raw, temporal, PrepareConfig(split="temporal", k_core=0, text_dim=8))
    run = begin("today", init=old, data__path=str(temporal))
    data, before = Dataset.open(temporal), Dataset.open(nights / "yesterday")
    trained = {
        (before.users[u], before.items[i])
        for u, i in before.interactions("train").select("user", "item").iter_rows()
    }
    now = {
        (data.users[u], data.items[i])
        for u, i in data.interactions("train").select("user", "item").iter_rows()
    }
    inherited = inherited_interactions(run).tocoo()
    found = {
        (data.users[u], data.items[i]) for u, i in zip(inherited.row, inherited.col, strict=True)
    }
    assert found == trained - now
    assert found
    said = "of the valid split, which were training data before"
    assert any(said in note for note in run.manifest.notes)
    notes, lists = [], {}
    options = EvaluationConfig(k=(10,))
    result = evaluate_run(
        run,
        data,
        "test",
        options,
        CPU,
        on_note=notes.append,
        on_lists=lambda users, items, _: lists.update(zip(users, items.tolist(), strict=True)),
    )
    assert len(notes) == 1
    assert result.metrics["recall@10"] > 0
    listed = {(data.users[u], data.items[i]) for u, row in lists.items() for i in row if i >= 0}
    assert not listed & (trained | now)
    # The next night knows what the nights before have learned.
    third = begin("today", "third", init=run, data__path=str(temporal))
    assert (inherited_interactions(third) != inherited_interactions(run)).nnz == 0


def test_a_refit_starts_where_its_run_started(begin, tmp_path):
    old = begin("yesterday", "old")
    run = begin("today", init=old)
    done = refit(run, None, tmp_path / "refit", Callbacks())
    assert done.manifest.init_from.run == run.manifest.init_from.run
    again = refit(done, None, tmp_path / "again", Callbacks())
    assert again.manifest.files == done.manifest.files
    shutil.rmtree(old.path)
    with pytest.raises(RunError, match="the run that this one starts from is gone"):
        refit(run, None, tmp_path / "other", Callbacks())
    assert not (tmp_path / "other").exists()
