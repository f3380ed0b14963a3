"""An interrupted run continues to the result of a whole one; damaged runs are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from run_files import edit_manifest
from safetensors.torch import load_file

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.models.ops.sparse_low_rank import SparseLowRank
from ld4mrec_cli.runs import paths as places
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.training.session import Callbacks, resume, train
from ld4mrec_cli.utils.errors import ConfigError, DatasetError, RunError, TrainingInterrupted

CPU = torch.device("cpu")
EPOCHS = 4


class HardStop(BaseException):
    """Stands for a kill: nothing in the program handles it."""


def stopping(kind: type[BaseException], epoch: int) -> Callbacks:
    def stop(report):
        if report.epoch == epoch:
            raise kind

    return Callbacks(on_epoch=stop)


def lines_without_times(run: RunDirectory) -> list[dict]:
    return [
        {key: value for key, value in line.items() if "seconds" not in key}
        for line in run.read_metrics()
    ]


@pytest.fixture
def config(planted_config):
    return planted_config(training__max_epochs=EPOCHS, diffusion__noise_scale=5.0)


@pytest.fixture(scope="module")
def whole(planted_dataset, tmp_path_factory):
    """The uninterrupted run of a config, trained once for each."""
    done: dict[str, RunDirectory] = {}

    def of(config) -> RunDirectory:
        key = config.model_dump_json()
        if key not in done:
            done[key] = train(config, tmp_path_factory.mktemp("whole") / "run", Callbacks())
        return done[key]

    return of


@pytest.fixture
def interrupted(config, tmp_path) -> Path:
    with pytest.raises(TrainingInterrupted, match=r"after epoch 2.*--resume"):
        train(config, tmp_path / "run", stopping(KeyboardInterrupt, 2))
    return tmp_path / "run"


def assert_same_run(resumed: RunDirectory, expected: RunDirectory) -> None:
    assert resumed.manifest.status == expected.manifest.status == "complete"
    assert resumed.manifest.best == expected.manifest.best
    assert (
        resumed.manifest.files == expected.manifest.files
    )  # by hash: the weights are bit-identical
    assert lines_without_times(resumed) == lines_without_times(expected)
    assert {path.name for path in resumed.path.iterdir()} == {
        path.name for path in expected.path.iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "status"), [(KeyboardInterrupt, "interrupted"), (HardStop, "running")]
)
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_run_equals_the_uninterrupted_one(config, whole, tmp_path, kind, status, epoch):
    with pytest.raises(TrainingInterrupted if kind is KeyboardInterrupt else HardStop):
        train(config, tmp_path / "run", stopping(kind, epoch))
    assert RunDirectory.open(tmp_path / "run").manifest.status == status
    assert_same_run(resume(tmp_path / "run", None, Callbacks()), whole(config))


@pytest.mark.parametrize(
    ("model", "stage"),
    [
        ("ld4mrec", "what EASE is"),
        ("ld4mrec", "item signals"),
        ("ld4mrec", "how the model scores"),
        ("ease", "what EASE is"),
        ("ease", "fitting ease"),
    ],
)
def test_a_run_that_is_interrupted_outside_the_epochs_resumes(
    planted_config, tmp_path, model, stage
):
    settings = {"ease__ridge": "auto"} if model == "ease" else {"model__ease_ridge": "auto"}
    config = planted_config(model_name=model, **settings)

    def interrupt(text: str) -> None:
        if stage in text:
            raise KeyboardInterrupt

    path = tmp_path / "run"
    when = "interrupted after epoch 2" if "scores" in stage else "interrupted"
    with pytest.raises(TrainingInterrupted, match=rf"^{when}\. Continue with .*--resume --run"):
        train(config, path, Callbacks(on_stage=interrupt))
    assert RunDirectory.open(path).manifest.status == "interrupted"
    assert_same_run(resume(path, None, Callbacks()), train(config, tmp_path / "whole", Callbacks()))


def test_a_finished_run_stays_finished_when_it_is_interrupted_at_its_very_end(
    planted_config, tmp_path, monkeypatch
):
    delete = RunDirectory.delete_checkpoint

    def interrupt(self: RunDirectory) -> None:
        delete(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "delete_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(planted_config(), tmp_path / "run", Callbacks())
    monkeypatch.undo()
    assert RunDirectory.open(tmp_path / "run").manifest.status == "complete"


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["multinomial", "mse"])
def test_a_run_with_sparse_item_weights_resumes(planted_config, whole, tmp_path, loss):
    config = planted_config(
        training__max_epochs=EPOCHS,
        training__loss=loss,
        model__ease_max_items=5,
        model__ease_neighbors=4,
    )
    with pytest.raises(HardStop):
        train(config, tmp_path / "run", stopping(HardStop, 2))
    resumed = resume(tmp_path / "run", None, Callbacks())
    assert_same_run(resumed, whole(config))
    assert isinstance(resumed.load_signals().ease_weights, SparseLowRank)


@pytest.mark.parametrize("part", ["data", "indices", "indptr", "left"])
def test_sparse_item_weights_that_are_no_matrix_are_refused(planted_config, tmp_path, part):
    content = {"model__ease_content_weight": 2.0}
    config = planted_config(training__max_epochs=1, model__ease_max_items=5, **content)
    run = train(config, tmp_path / "run", Callbacks())
    tensors = load_file(run.path / "signals.safetensors")
    name = f"ease_weights.{part}"
    for damaged in (None, tensors[name].clone(), tensors[name][:-1].clone()):
        changed = {key: value for key, value in tensors.items() if key != name}
        if damaged is not None:
            damaged[-1] = 10**6 if part.startswith("ind") else torch.nan
            changed[name] = damaged
        arrays = {key: value.numpy() for key, value in changed.items()}
        run.save_arrays("signals.safetensors", arrays)
        with pytest.raises(RunError, match=r"signals\.safetensors"):
            load_scorer(RunDirectory.open(run.path), CPU)


def test_a_run_killed_before_its_first_checkpoint_starts_over(config, whole, tmp_path):
    def stop(*_):
        raise HardStop

    for number, callbacks in enumerate(
        [Callbacks(on_batch=stop), Callbacks(on_stage=stop), Callbacks(on_start=stop)]
    ):
        path = tmp_path / f"run{number}"
        with pytest.raises(HardStop):
            train(config, path, callbacks)
        assert_same_run(resume(path, config, Callbacks()), whole(config))


def test_an_epoch_between_validations_is_run_again(planted_config, whole, tmp_path):
    config = planted_config(training__max_epochs=5, training__validate_every=2)
    with pytest.raises(HardStop):
        train(config, tmp_path / "run", stopping(HardStop, 3))
    assert_same_run(resume(tmp_path / "run", None, Callbacks()), whole(config))


def test_a_longer_bound_on_epochs_continues_to_what_a_longer_run_gives(
    config, planted_config, interrupted, whole
):
    longer = planted_config(training__max_epochs=EPOCHS + 2, diffusion__noise_scale=5.0)
    assert_same_run(resume(interrupted, longer, Callbacks()), whole(longer))


@pytest.mark.parametrize(
    ("key", "value"),
    [("training.learning_rate", 0.5), ("model.hidden_dim", 8), ("training.seed", 3)],
)
def test_a_changed_setting_is_refused_by_name(planted_config, interrupted, key, value):
    settings = {
        "training__max_epochs": EPOCHS,
        "diffusion__noise_scale": 5.0,
        key.replace(".", "__"): value,
    }
    with pytest.raises(ConfigError, match=rf"{key} was .* is {value} now"):
        resume(interrupted, planted_config(**settings), Callbacks())


def test_a_complete_run_cannot_be_resumed(config, whole):
    with pytest.raises(RunError, match="nothing to resume"):
        resume(whole(config).path, None, Callbacks())


def test_resuming_with_a_changed_dataset_is_refused(planted_dataset, planted_config, tmp_path):
    data = Path(shutil.copytree(planted_dataset, tmp_path / "data"))
    with pytest.raises(HardStop):
        train(planted_config(data__path=str(data)), tmp_path / "run", stopping(HardStop, 1))
    schema = json.loads((data / "schema.json").read_text())
    schema["files"]["valid.parquet"] = "0" * 64
    (data / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(DatasetError, match="is not the dataset that"):
        resume(tmp_path / "run", None, Callbacks())


def test_an_unfinished_run_serves_no_weights(interrupted):
    with pytest.raises(RunError, match=r"interrupted, it has no weights yet.*--resume"):
        load_scorer(RunDirectory.open(interrupted), CPU)


def test_the_newest_unfinished_run_is_found_by_name(
    config, planted_config, interrupted, monkeypatch
):
    monkeypatch.setattr(places, "RUNS", interrupted.parent)
    assert places.unfinished_run(None) == interrupted
    assert places.unfinished_run("planted") == interrupted
    with pytest.raises(RunError, match="no unfinished run named 'other'"):
        places.unfinished_run("other")


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


damages = pytest.mark.parametrize("damage", [flip_last_byte, cut_in_half, empty, Path.unlink])


@pytest.fixture
def copied_run(config, whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole(config).path, tmp_path / "copied"))


@damages
@pytest.mark.parametrize("name", ["weights.safetensors", "signals.safetensors"])
def test_a_damaged_file_of_a_run_is_refused(copied_run, planted_dataset, name, damage):
    damage(copied_run / name)
    with pytest.raises(RunError, match=name):
        evaluate_run(
            RunDirectory.open(copied_run),
            Dataset.open(planted_dataset),
            "test",
            EvaluationConfig(),
            CPU,
        )


@pytest.mark.parametrize("damage", [cut_in_half, empty, Path.unlink])
def test_a_damaged_manifest_is_refused(copied_run, damage):
    damage(copied_run / "manifest.json")
    with pytest.raises(RunError, match=r"manifest\.json"):
        RunDirectory.open(copied_run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "perfect"),
        ("version", 99),
        ("format", "other"),
        ("epochs", "many"),
        ("surprise", 1),
        ("model", "gpt"),
    ],
)
def test_a_manifest_with_impossible_values_is_refused(copied_run, key, value):
    edit_manifest(copied_run, lambda values: values.update({key: value}))
    with pytest.raises(RunError):
        load_scorer(RunDirectory.open(copied_run), CPU)


def test_a_manifest_whose_config_does_not_fit_the_weights_is_refused(copied_run):
    for key, value in (("hidden_dim", 24), ("hidden_dimm", 24)):
        edit_manifest(
            copied_run,
            lambda values, key=key, value=value: values["config"]["model"].update({key: value}),
        )
        with pytest.raises(RunError, match="not fit"):
            load_scorer(RunDirectory.open(copied_run), CPU)


@pytest.mark.parametrize("damage", [flip_last_byte, cut_in_half, empty])
def test_a_damaged_checkpoint_is_refused(interrupted, damage):
    damage(interrupted / "checkpoint.safetensors")
    with pytest.raises(RunError, match=r"checkpoint\.safetensors: is damaged"):
        resume(interrupted, None, Callbacks())


def test_a_checkpoint_of_another_model_is_refused(interrupted, planted_config, tmp_path):
    with pytest.raises(TrainingInterrupted):
        train(
            planted_config(model__bd_blocks=0), tmp_path / "other", stopping(KeyboardInterrupt, 1)
        )
    shutil.copy(
        tmp_path / "other" / "checkpoint.safetensors", interrupted / "checkpoint.safetensors"
    )
    with pytest.raises(RunError, match="checkpoint"):
        resume(interrupted, None, Callbacks())


def test_saved_weights_are_those_of_the_best_epoch(config, whole):
    run = whole(config)
    scorer = load_scorer(RunDirectory.open(run.path), CPU)
    weights = load_file(run.path / "weights.safetensors")
    assert all(
        torch.equal(weights[name], parameter) for name, parameter in scorer.named_parameters()
    )
