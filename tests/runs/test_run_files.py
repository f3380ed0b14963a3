"""The files of a run: its name, its checksum, its configuration, and what a kill leaves of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from run_files import edit_manifest
from safetensors import safe_open
from safetensors.torch import save_file

from ld4mrec_cli.config import Config, config_from_mapping, load_config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.runs import paths
from ld4mrec_cli.runs.checkpoint import read_checkpoint, write_checkpoint
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.manifest import Manifest, read_manifest
from ld4mrec_cli.runs.paths import latest_run, new_run_path, point_latest, unfinished_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.serving.recommender import Recommender
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.training.session import Callbacks, resume, train
from ld4mrec_cli.utils.errors import ConfigError, DatasetError, OutputError, RunError

CPU = torch.device("cpu")


@dataclass
class Example:
    """A finished run that a test may change, and the dataset that it was trained on."""

    run: Path
    data: Path

    def open(self) -> RunDirectory:
        return RunDirectory.open(self.run)


@pytest.fixture(scope="module")
def finished(planted_dataset, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    config = {"data": {"path": str(planted_dataset)}, "model_name": "popularity"}
    return train(config_from_mapping(config), path, Callbacks()).path


@pytest.fixture
def example(finished, planted_dataset, tmp_path) -> Example:
    return Example(Path(shutil.copytree(finished, tmp_path / "run")), planted_dataset)


def make_manifest(**values) -> Manifest:
    dataset = {"path": "d", "name": "d", "hash": "0", "n_users": 1, "n_items": 1, "modalities": []}
    defaults = {
        "name": "x",
        "model": "ease",
        "seed": 0,
        "config": Config().model_dump(mode="json"),
        "dataset": dataset,
        "versions": {},
        "device": "cpu",
        "started": "2026-01-01",
    }
    return Manifest(**{**defaults, **values})


def make_run(path: Path, **values) -> RunDirectory:
    return RunDirectory.create(path, make_manifest(**values), Config())


# Names


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", "", "a\nb", "a\x1b]0;x"])
def test_a_name_does_not_leave_runs(example, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="cannot be part of a path"):
        new_run_path(name)
    with pytest.raises(ConfigError):
        config_from_mapping({"name": name})
    edit_manifest(example.run, lambda values: values.update(name=name))
    with pytest.raises(RunError, match="damaged"):
        example.open()
    data = Path(shutil.copytree(example.data, tmp_path / "data"))
    schema = json.loads((data / "schema.json").read_text())
    (data / "schema.json").write_text(json.dumps({**schema, "name": name}))
    with pytest.raises(DatasetError, match="damaged"):
        Dataset.open(data)


def test_a_new_run_lies_in_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = new_run_path("my data")
    assert path.parent == Path("runs")
    path.mkdir(parents=True)
    assert new_run_path("my data") != path


# runs/latest


def test_latest_is_replaced_whatever_a_dead_process_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        run = make_run(Path("runs") / f"run{number}")
        dead = Path("runs") / f".latest.abcdefg{number}.tmp"
        dead.mkdir()
        (dead / ".lock").touch()
        (dead / "latest").symlink_to("nowhere")
        point_latest(run)
        assert latest_run().resolve() == run.path.resolve()
    assert sorted(path.name for path in Path("runs").iterdir()) == ["latest", "run1", "run2"]


def test_latest_without_links_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(*args, **kwargs):
        raise OSError("symlinks need a privilege")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    run = make_run(Path("runs") / "run")
    point_latest(run)
    assert (Path("runs") / "latest").read_text() == "run"
    assert latest_run() == run.path


def test_latest_that_is_a_directory_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(Path("runs") / "run")
    (Path("runs") / "latest").mkdir()
    with pytest.raises(OutputError, match="latest: cannot be replaced"):
        point_latest(run)


def test_a_damaged_run_does_not_hide_one_that_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    run = make_run(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text("{")
    assert unfinished_run(None) == run.path


# Off the main process


def test_off_the_main_process_nothing_is_written(example, planted_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in example.run.iterdir()}
    run = RunDirectory.open(example.run, writable=False)
    with run.locked():
        run.update(seconds=1.0)
        run.change_config(run.config)
        run.add_serving_tables(Dataset.open(planted_dataset))
        run.save_arrays("weights.safetensors", {})
        run.save_tensors("weights.safetensors", {})
        run.write_metrics([])
        run.save_checkpoint(lambda: pytest.fail("the state is not needed"))
        run.save_learning_curve(lambda path: pytest.fail("nothing is drawn"))
        run.delete_checkpoint()
        run.remove_temporaries()
        point_latest(run)
    assert {path.name: path.stat().st_mtime_ns for path in example.run.iterdir()} == before
    assert not (tmp_path / "runs").exists()


# After a kill


@pytest.mark.parametrize("names", [[".lock"], [".manifest.json.ab12cd34.tmp/manifest.json"]])
def test_a_directory_of_a_training_killed_at_once_is_used_again(tmp_path, names):
    for name in names:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("")
    for leftover in (tmp_path / "run").glob(".*.tmp"):
        (leftover / ".lock").touch()
    make_run(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"manifest.json", "config.yaml"}


def test_a_directory_with_a_file_of_the_user_is_not_used_or_cleaned(tmp_path):
    files = {"notes.txt", ".draft.ab12cd34.tmp"}
    for name in files:
        (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match="exists"):
        make_run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == files


def test_two_trainings_cannot_make_one_directory(tmp_path):
    run = make_run(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    (tmp_path / "run" / "config.yaml").unlink()
    with run.locked(), pytest.raises(RunError, match="by another process"):
        make_run(tmp_path / "run")


# Checksums


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (None, "seed", 1),
        (None, "device", "cuda"),
        (None, "notes", ["all is well"]),
        ("config", "model_name", "ease"),
        ("dataset", "hash", "0" * 64),
        ("best", "value", 0.99),
        ("files", "train.parquet", "0" * 64),
    ],
)
def test_a_manifest_that_was_edited_is_refused(example, section, key, value):
    path = example.run / "manifest.json"
    values = json.loads(path.read_text())
    (values[section] if section else values)[key] = value
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"manifest\.json: was changed since ld4mrec wrote it"):
        example.open()


def test_a_manifest_in_other_whitespace_is_the_same(example):
    path = example.run / "manifest.json"
    expected = read_manifest(path)
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert read_manifest(path) == expected


@pytest.mark.parametrize("change", ["dtype", "shape", "name", "state"])
def test_a_checkpoint_of_another_dtype_or_shape_is_refused(tmp_path, change):
    path = tmp_path / "checkpoint.safetensors"
    tensors = {"weight": torch.arange(6, dtype=torch.float32).reshape(2, 3)}
    write_checkpoint(path, tensors, {"epoch": 3})
    assert read_checkpoint(path)[1] == {"epoch": 3}
    assert torch.equal(read_checkpoint(path)[0]["weight"], tensors["weight"])
    with safe_open(path, framework="pt") as handle:
        metadata = dict(handle.metadata())
    weight = tensors["weight"]
    changed = {
        "dtype": {"weight": weight.view(torch.int32)},
        "shape": {"weight": weight.reshape(3, 2)},
        "name": {"other": weight},
        "state": tensors,
    }[change]
    if change == "state":
        metadata["state"] = json.dumps({"epoch": 4})
    save_file(changed, path, metadata=metadata)
    with pytest.raises(RunError, match="is damaged: it is not what training wrote"):
        read_checkpoint(path)


# config.yaml


def edit_config(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("mask: train\n", "mask: train+valid\n"))


def test_an_edited_config_is_refused_where_it_would_be_ignored(example):
    edit_config(example.run)
    for command in (
        lambda: evaluate_run(
            example.open(), Dataset.open(example.data), "test", EvaluationConfig(), CPU
        ),
        lambda: Recommender(example.open(), CPU),
        lambda: example.open().config,
    ):
        with pytest.raises(RunError, match=r"config\.yaml: was edited.*train --config"):
            command()


def test_an_edited_config_is_refused_on_resume(tmp_path):
    run = make_run(tmp_path / "run")
    edit_config(run.path)
    with pytest.raises(RunError, match=r"config\.yaml: was edited"):
        resume(run.path, None, Callbacks())


def test_the_edited_config_can_be_trained_with(example, tmp_path):
    edit_config(example.run)
    config = load_config(example.run / "config.yaml")
    assert config.evaluation.mask == "train+valid"
    assert train(config, tmp_path / "new", Callbacks()).config == config


def test_a_comment_in_the_config_or_its_absence_is_no_edit(example):
    path = example.run / "config.yaml"
    path.write_text("# the good one\n" + path.read_text())
    expected = example.open().config
    path.unlink()
    assert example.open().config == expected


@pytest.mark.parametrize("at_write", [1, 2, 3])
def test_a_kill_while_the_config_is_changed_does_no_harm(tmp_path, monkeypatch, at_write):
    run = make_run(tmp_path / "run")
    other = Config(name="other")
    from ld4mrec_cli.runs import manifest, run_directory

    written = []

    def stop_at(original):
        def write(*args):
            written.append(args)
            if len(written) == at_write:
                raise KeyboardInterrupt
            original(*args)

        return write

    monkeypatch.setattr(run_directory, "write_text", stop_at(run_directory.write_text))
    monkeypatch.setattr(manifest, "write_json", stop_at(manifest.write_json))
    with pytest.raises(KeyboardInterrupt):
        run.change_config(other)
    expected = None if at_write == 1 else "other"
    assert RunDirectory.open(run.path).config.name == expected
