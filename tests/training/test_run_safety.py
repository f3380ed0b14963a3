"""Faults that runs must not have: two writers, lost settings, leftovers, another model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from run_files import leave_workspace

from ld4mrec_cli.config import load_config
from ld4mrec_cli.runs import paths as places
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.training.session import Callbacks, resume, train
from ld4mrec_cli.utils.errors import DatasetError, RunError, TrainingDiverged, TrainingInterrupted

CPU = torch.device("cpu")


def interrupting_after(epoch: int) -> Callbacks:
    def stop(report):
        if report.epoch == epoch:
            raise KeyboardInterrupt

    return Callbacks(on_epoch=stop)


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


@pytest.fixture
def interrupted(planted_config, tmp_path):
    with pytest.raises(TrainingInterrupted):
        train(planted_config(training__max_epochs=4), tmp_path / "run", interrupting_after(2))
    return RunDirectory.open(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [{"model__bd_blocks": 0}, {"model__bg_blocks": 0}, {"model__item_side": False}]
)
def test_a_run_without_a_part_of_the_model_can_be_resumed(planted_config, tmp_path, part):
    config = planted_config(training__max_epochs=3, **part)
    whole = train(config, tmp_path / "whole", Callbacks())
    with pytest.raises(TrainingInterrupted):
        train(config, tmp_path / "cut", interrupting_after(1))
    cut = resume(tmp_path / "cut", None, Callbacks())
    assert cut.manifest.files["weights.safetensors"] == whole.manifest.files["weights.safetensors"]


def test_a_run_that_is_being_trained_is_left_alone(interrupted, monkeypatch):
    monkeypatch.setattr(places, "RUNS", interrupted.path.parent)
    with RunDirectory.open(interrupted.path).locked():
        with pytest.raises(RunError, match="is being trained by another process"):
            resume(interrupted.path, None, Callbacks())
        with pytest.raises(RunError, match="no unfinished run"):
            places.unfinished_run(None)
    assert places.unfinished_run(None) == interrupted.path
    assert resume(interrupted.path, None, Callbacks()).manifest.status == "complete"


def test_settings_of_an_earlier_resume_are_kept(interrupted):
    longer = load_config(None, ["training.max_epochs=6"], base=interrupted.config)
    with pytest.raises(TrainingInterrupted):
        resume(interrupted.path, longer, interrupting_after(5))
    assert load_config(interrupted.path / "config.yaml") == longer
    assert resume(interrupted.path, None, Callbacks()).manifest.epochs == 6


def test_what_a_kill_left_behind_is_removed(interrupted, planted_config, tmp_path):
    leave_workspace(interrupted.path / "checkpoint.safetensors")
    whole = train(planted_config(training__max_epochs=4), tmp_path / "whole", Callbacks())
    resume(interrupted.path, None, Callbacks())
    assert names(interrupted.path) == names(whole.path)


def test_a_checkpoint_that_a_kill_left_in_a_complete_run_is_removed(planted_config, tmp_path):
    run = train(planted_config(training__max_epochs=1), tmp_path / "run", Callbacks())
    before = names(run.path)
    (run.path / "checkpoint.safetensors").write_bytes(b"old")
    leave_workspace(run.path / "manifest.json")
    (run.path / ".lock").touch()
    RunDirectory.open(run.path)
    assert names(run.path) == before


def test_an_interrupted_baseline_is_fitted_again(planted_config, tmp_path, monkeypatch):
    def stop(text):
        raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        train(planted_config(model_name="ease"), tmp_path / "run", Callbacks(on_stage=stop))
    run = resume(tmp_path / "run", None, Callbacks())
    assert run.manifest.model == "ease"
    assert type(load_scorer(run, CPU)).__name__ == "EASE"


def test_a_moved_dataset_is_taken_up_by_its_content(planted_dataset, planted_config, tmp_path):
    data = Path(shutil.copytree(planted_dataset, tmp_path / "here"))
    with pytest.raises(TrainingInterrupted):
        train(planted_config(data__path=str(data)), tmp_path / "run", interrupting_after(1))
    data.rename(tmp_path / "there")
    with pytest.raises(DatasetError, match=r"moved, name it with --data DIR") as caught:
        resume(tmp_path / "run", None, Callbacks())
    assert str(data) in str(caught.value)
    moved = load_config(
        None, [f"data.path={tmp_path / 'there'}"], base=RunDirectory.open(tmp_path / "run").config
    )
    run = resume(tmp_path / "run", moved, Callbacks())
    assert run.manifest.dataset.path == str((tmp_path / "there").resolve())


def test_diverging_at_once_promises_nothing(planted_config, tmp_path):
    with pytest.raises(TrainingDiverged, match="No weights were kept"):
        train(planted_config(training__learning_rate=1e30), tmp_path / "run", Callbacks())
    run = RunDirectory.open(tmp_path / "run")
    with pytest.raises(RunError, match="diverged before it had weights") as caught:
        load_scorer(run, CPU)
    assert "--resume" not in str(caught.value)
    assert "checkpoint.safetensors" not in names(run.path)


@pytest.mark.parametrize(
    ("model", "section"), [("ld4mrec", "model__ease_"), ("ease", "ease__")], ids=lambda part: part
)
def test_sparse_item_weights_are_said_and_recorded(planted_config, tmp_path, model, section):
    said = []
    changed = {f"{section}max_items": 3, f"{section}neighbors": 7}
    config = planted_config(model_name=model, training__max_epochs=1, **changed)
    run = train(config, tmp_path / "run", Callbacks(on_note=said.append))
    assert said == run.manifest.notes
    assert "approximation by 7 neighbors" in said[0]
    assert said[0].endswith(f"{section.replace('__', '.')}max_items, 3")


def test_an_empty_directory_is_taken_as_a_run_directory(planted_config, tmp_path):
    (tmp_path / "run").mkdir()
    assert (
        train(planted_config(training__max_epochs=1), tmp_path / "run", Callbacks()).manifest.status
        == "complete"
    )
