"""Train and evaluate on a dataset directory: what a run holds, and that it keeps to its splits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from run_files import change_test_split
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import load_config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation import validation
from ld4mrec_cli.evaluation.metrics import ACCURACY
from ld4mrec_cli.runs import evaluate as run_evaluation
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.settings.training import TrainingConfig
from ld4mrec_cli.training import checkpoint_throttle, session
from ld4mrec_cli.training.session import Callbacks, train
from ld4mrec_cli.utils import device
from ld4mrec_cli.utils.errors import (
    ConfigError,
    DatasetError,
    DeviceError,
    RunError,
    TrainingDiverged,
    UserError,
)

CPU = torch.device("cpu")
RUN_FILES = {
    "manifest.json",
    "config.yaml",
    "metrics.jsonl",
    "learning_curve.png",
    "weights.safetensors",
    "signals.safetensors",
    "users.parquet",
    "items.parquet",
    "item_columns.parquet",
    "train.parquet",
    "valid.parquet",
    "test.parquet",
}


@pytest.fixture(scope="module")
def dataset(planted_dataset) -> Dataset:
    return Dataset.open(planted_dataset)


@pytest.fixture
def run(planted_config, tmp_path) -> RunDirectory:
    return train(planted_config(), tmp_path / "run", Callbacks())


def copy_of(dataset_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset_path, tmp_path / "copy"))


def test_a_run_directory_holds_what_it_should(run, dataset):
    assert {path.name for path in run.path.iterdir()} == RUN_FILES
    assert set(run.manifest.files) == {
        name for name in RUN_FILES if name.endswith((".safetensors", ".parquet"))
    }
    lines = run.read_metrics()
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(
        {"epoch", "loss", "seconds", "valid", "is_best", "validation_seconds"} == set(line)
        for line in lines
    )
    assert all(set(line["valid"]) == {f"{name}@20" for name in ACCURACY} for line in lines)


@pytest.mark.parametrize(
    ("precision", "has", "is_said"),
    [("bf16", False, True), ("bf16", True, False), ("auto", False, False)],
)
def test_bf16_that_the_hardware_lacks_is_said(
    monkeypatch, planted_config, tmp_path, precision, has, is_said
):
    monkeypatch.setattr(session, "has_bf16", lambda kind: has)
    monkeypatch.setattr(device, "has_bf16", lambda kind: has)
    notes: list[str] = []
    train(
        planted_config(training__precision=precision),
        tmp_path / "run",
        Callbacks(on_note=notes.append),
    )
    assert (
        any("training.precision=bf16 is emulated on this cpu" in note for note in notes) == is_said
    )


def test_the_manifest_tells_what_was_done(run, dataset, planted_config):
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["format"] == "ld4mrec-run"
    assert (manifest["model"], manifest["seed"], manifest["device"], manifest["epochs"]) == (
        "ld4mrec",
        0,
        "cpu",
        2,
    )
    assert manifest["dataset"]["hash"] == dataset.hash
    assert (manifest["dataset"]["n_users"], manifest["dataset"]["n_items"]) == dataset.shape
    assert manifest["dataset"]["modalities"] == ["image", "text"]
    assert {"torch", "numpy", "python", "ld4mrec"} <= set(manifest["versions"])
    best = max(run.read_metrics(), key=lambda line: line["valid"]["ndcg@20"])
    assert manifest["best"]["epoch"] == best["epoch"]
    assert manifest["best"]["value"] >= best["valid"]["ndcg@20"]  # then the mixture is chosen
    assert manifest["seconds"] > 0


def test_the_config_of_a_run_repeats_it(run, planted_config, tmp_path):
    config = load_config(run.path / "config.yaml")
    assert config == planted_config() == RunDirectory.open(run.path).config
    again = train(config, tmp_path / "again", Callbacks())
    assert again.manifest.files == run.manifest.files


def test_evaluating_twice_gives_the_same(run, dataset):
    first, second = (evaluate_run(run, dataset, "test", EvaluationConfig(), CPU) for _ in range(2))
    assert first.metrics == second.metrics
    assert {name.split("@")[0] for name in first.metrics} == {
        *ACCURACY,
        "coverage",
        "gini",
        "popularity",
    }


def test_validation_in_training_is_that_of_evaluate(run, dataset):
    found = evaluate_run(run, dataset, "valid", EvaluationConfig(k=(20,)), CPU)
    for name, value in run.manifest.best.valid.items():
        assert found.metrics[name] == pytest.approx(value, abs=1e-9), name


def test_evaluation_reports_the_cutoffs_it_is_given(run, dataset):
    found = evaluate_run(run, dataset, "test", EvaluationConfig(k=(3, 7)), CPU)
    assert {name.split("@")[1] for name in found.metrics} == {"3", "7"}


def test_evaluation_batch_size_bounds_the_batches(run, dataset):
    sizes: list[int] = []
    evaluate_run(run, dataset, "test", EvaluationConfig(batch_size=100), CPU, sizes.append)
    assert max(sizes) == 100


def test_mask_with_validation_items_removes_them_from_the_lists(run, dataset, monkeypatch):
    masks = []
    plain = run_evaluation.evaluate
    monkeypatch.setattr(
        run_evaluation, "evaluate", lambda *a, **options: masks.append(a[3]) or plain(*a, **options)
    )
    found = {
        (split, mask): evaluate_run(run, dataset, split, EvaluationConfig(mask=mask), CPU).metrics[
            "ndcg@50"
        ]
        for split in ("valid", "test")
        for mask in ("train", "train+valid")
    }
    train_rows, valid = dataset.matrix("train"), dataset.matrix("valid")
    expected = [train_rows, train_rows, train_rows, train_rows + valid]
    assert all((mask != rows).nnz == 0 for mask, rows in zip(masks, expected, strict=True))
    # Fewer items to rank can only help to find the test items.
    assert found["test", "train+valid"] > found["test", "train"]
    assert found["valid", "train+valid"] == found["valid", "train"]


@pytest.mark.parametrize("model", ["ld4mrec", "ease"])
def test_training_ignores_the_test_split(planted_dataset, planted_config, tmp_path, model):
    """It is copied for serving, and nothing else: other test interactions, the same run."""
    path = copy_of(planted_dataset, tmp_path)
    change_test_split(path)
    runs = [
        train(planted_config(data__path=str(data), model_name=model), tmp_path / name, Callbacks())
        for name, data in (("first", planted_dataset), ("second", path))
    ]
    first, second = (run.load_tensors("weights.safetensors") for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert runs[0].manifest.best == runs[1].manifest.best
    # The evaluation does see it.
    found = [
        evaluate_run(run, Dataset.open(data), "test", EvaluationConfig(), CPU).metrics
        for run, data in zip(runs, (planted_dataset, path), strict=True)
    ]
    assert found[0] != found[1]


def test_a_dataset_that_changed_since_training_is_refused(run, planted_dataset, tmp_path):
    path = copy_of(planted_dataset, tmp_path)
    schema = json.loads((path / "schema.json").read_text())
    schema["files"]["train.parquet"] = "0" * 64
    (path / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(DatasetError, match="is not the dataset that"):
        evaluate_run(run, Dataset.open(path), "test", EvaluationConfig(), CPU)


@pytest.mark.parametrize("device", ["warp", "cuda:99", "cpu:1"])
def test_an_unknown_device_is_refused(planted_config, tmp_path, device):
    with pytest.raises(DeviceError, match=device):
        train(planted_config(training__device=device), tmp_path / "run", Callbacks())
    assert not (tmp_path / "run").exists()


def test_unknown_modalities_and_signals_are_refused_before_a_run_is_made(planted_config, tmp_path):
    with pytest.raises(DatasetError, match=r"no modality 'imag'.*'image'"):
        train(planted_config(data__modalities=["imag"]), tmp_path / "run", Callbacks())
    with pytest.raises(ConfigError, match="guidance names 'text'"):
        train(
            planted_config(data__modalities=["image"], model__guidance=["text"]),
            tmp_path / "run",
            Callbacks(),
        )
    with pytest.raises(ConfigError, match="no dataset is named"):
        train(planted_config(data__path=None), tmp_path / "run", Callbacks())
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_not_overwritten(run, planted_config):
    with pytest.raises(RunError, match="exists"):
        train(planted_config(), run.path, Callbacks())


def test_only_the_chosen_modalities_are_used(planted_config, tmp_path):
    run = train(planted_config(data__modalities=["text"]), tmp_path / "run", Callbacks())
    assert list(run.load_signals().bases) == ["collaborative", "text"]


def test_a_run_that_diverges_says_so_and_keeps_the_best_weights(planted_config, tmp_path, dataset):
    def spoil(report):
        with torch.no_grad():
            trainers[0].model.cnet.decoder_bias.fill_(np.nan)

    trainers = []
    with pytest.raises(TrainingDiverged, match=r"nan in epoch 2.*run$"):
        train(
            planted_config(), tmp_path / "run", Callbacks(on_start=trainers.append, on_epoch=spoil)
        )
    run = RunDirectory.open(tmp_path / "run")
    assert (run.manifest.status, run.manifest.best.epoch) == ("diverged", 1)
    assert evaluate_run(run, dataset, "test", EvaluationConfig(), CPU).metrics["recall@20"] > 0


def test_a_run_that_diverges_at_once_has_no_weights(planted_config, tmp_path, dataset):
    config = planted_config(training__learning_rate=1e30, training__max_epochs=30)
    with pytest.raises(UserError) as caught:
        train(config, tmp_path / "run", Callbacks())
    assert isinstance(caught.value, TrainingDiverged)
    assert RunDirectory.open(tmp_path / "run").manifest.status == "diverged"


@pytest.mark.slow
def test_the_planted_structure_is_found(planted_config, tmp_path, dataset):
    """LD4MRec finds at least twice what popularity does, and content helps it."""
    long = {"training__max_epochs": 12, "model__hidden_dim": 32, "model__collaborative_rank": 32}
    settings = {
        "popularity": {"model_name": "popularity"},
        "content": long,
        "no content": {**long, "data__modalities": []},
    }
    recall = {}
    for name, changed in settings.items():
        run = train(planted_config(**changed), tmp_path / name, Callbacks())
        recall[name] = evaluate_run(run, dataset, "test", EvaluationConfig(), CPU).metrics[
            "recall@20"
        ]
    assert recall["content"] >= 2 * recall["popularity"]
    assert recall["content"] > recall["no content"] > recall["popularity"]


@pytest.mark.parametrize(("wanted", "expected"), [(0, 300), (None, 300), (40, 40), (5000, 300)])
def test_validation_ranks_for_the_users_it_is_told_to(wanted, expected):
    targets = csr_matrix((np.arange(301) > 0).astype(np.float32)[:, None])
    config = TrainingConfig(validation_users=wanted, seed=3)
    users = validation.select_validation_users(config, targets)
    assert len(users) == expected
    assert (np.diff(users) > 0).all()
    assert users.min() > 0
    np.testing.assert_array_equal(users, validation.select_validation_users(config, targets))
    if expected < 300:
        other = validation.select_validation_users(
            TrainingConfig(validation_users=wanted, seed=4), targets
        )
        assert not np.array_equal(users, other)


def test_a_validation_of_a_large_catalog_is_bounded(monkeypatch):
    monkeypatch.setattr(validation, "MAX_VALIDATION_SCORES", 500)
    monkeypatch.setattr(validation, "MIN_VALIDATION_USERS", 20)
    targets = csr_matrix(np.ones((90, 10), dtype=np.float32))
    assert len(validation.select_validation_users(TrainingConfig(), targets)) == 50
    monkeypatch.setattr(validation, "MIN_VALIDATION_USERS", 70)
    assert len(validation.select_validation_users(TrainingConfig(), targets)) == 70


def test_validating_with_some_users_is_said(planted_config, tmp_path):
    notes = []
    run = session.train(
        planted_config(training__validation_users=9),
        tmp_path / "run",
        Callbacks(on_note=notes.append),
    )
    (note,) = run.manifest.notes
    assert note.startswith("validating with 9 of the ")
    assert notes == [note]
    counts = {line["valid"]["hit@20"] * 9 for line in run.read_metrics()}
    assert all(count == pytest.approx(round(count)) for count in counts)


def test_checkpoints_that_take_long_are_written_now_and_then(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(checkpoint_throttle.time, "monotonic", lambda: clock[0])
    pace = checkpoint_throttle.CheckpointThrottle()

    def write(seconds):
        with pace.timed():
            clock[0] += seconds

    assert pace.is_due()
    write(0.5)
    assert pace.is_due()
    write(3.0)
    assert not pace.is_due()
    clock[0] += 59.0
    assert not pace.is_due()
    clock[0] += 1.0
    assert pace.is_due()
