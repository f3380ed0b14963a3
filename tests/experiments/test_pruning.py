"""Which trials are cut short."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.experiments.tune import suggest as suggest_module
from ld4mrec_cli.experiments.tune.records import Budget
from ld4mrec_cli.experiments.tune.search import SearchDirectory
from ld4mrec_cli.experiments.tune.space_io import space_from_mapping
from ld4mrec_cli.experiments.tune.suggest import (
    MIN_COMPLETE_TRIALS,
    WARMUP_EPOCHS,
    median_pruning_rule,
)
from ld4mrec_cli.experiments.tune.tuning import SearchCallbacks, tune
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.training.checkpoint_throttle import CheckpointThrottle
from ld4mrec_cli.training.session import Callbacks
from ld4mrec_cli.utils.errors import RunError, TrainingInterrupted

RATES = {"training.learning_rate": {"choices": [0.02, 0.025, 0.03, 1e-7, 2e-7, 3e-7]}}


def rising(slope: float, epochs: int = 40) -> dict[int, float]:
    return {epoch: slope * epoch for epoch in range(1, epochs + 1)}


FIVE = [rising(slope) for slope in (1, 2, 3, 4, 5)]


def test_a_trial_below_the_median_is_behind_and_one_above_is_not():
    is_behind = median_pruning_rule(FIVE)
    assert is_behind(rising(2.9, WARMUP_EPOCHS + 1))
    assert not is_behind(rising(3.1, WARMUP_EPOCHS + 1))
    assert is_behind(rising(2.9, WARMUP_EPOCHS + 1))  # what was asked before does not count


def test_what_counts_is_the_best_value_so_far():
    assert not median_pruning_rule(FIVE)({**rising(0.1, WARMUP_EPOCHS + 5), 3: 1000.0})


def test_every_trial_has_its_first_epochs():
    is_behind = median_pruning_rule(FIVE)
    assert not is_behind(rising(0, WARMUP_EPOCHS))
    assert is_behind(rising(0, WARMUP_EPOCHS + 1))
    assert not is_behind({})


def test_a_few_complete_trials_have_no_median():
    assert not median_pruning_rule(FIVE[: MIN_COMPLETE_TRIALS - 1])(rising(0))
    assert not median_pruning_rule([*FIVE[: MIN_COMPLETE_TRIALS - 1], {}])(rising(0))


def test_where_few_of_the_others_came_nobody_is_behind():
    """They stopped early: what they would have had there is not known."""
    complete = [*(rising(slope, 15) for slope in (1, 2, 3)), *(rising(slope) for slope in (4, 5))]
    assert not median_pruning_rule(complete)(rising(0.1, 16))
    assert median_pruning_rule([*complete, rising(6)])(rising(0.1, 16))


@given(
    st.lists(
        st.lists(st.floats(0, 1), min_size=15, max_size=15),
        min_size=MIN_COMPLETE_TRIALS,
        max_size=9,
    )
)
def test_the_best_of_the_complete_trials_would_not_have_been_cut(curves):
    complete = [dict(enumerate(curve, start=1)) for curve in curves]
    best = max(complete, key=lambda curve: max(curve.values()))
    assert not median_pruning_rule(complete)(best)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(suggest_module, "MIN_COMPLETE_TRIALS", 2)
    monkeypatch.setattr(suggest_module, "MIN_TRIALS_AT_EPOCH", 2)
    monkeypatch.setattr(suggest_module, "WARMUP_EPOCHS", 3)


@pytest.fixture
def base(planted_config):
    """Learns from the start; the other values of the space hardly learn at all."""
    return planted_config(
        training__learning_rate=0.02, training__max_epochs=8, training__patience=8
    )


def search(base, out, trials=6, prune=True, callbacks=None):
    budget = Budget(trials=trials, prune=prune)
    return tune(base, space_from_mapping(RATES, base), out, budget, callbacks or SearchCallbacks())


def lines(found: SearchDirectory) -> list[dict]:
    return [trial.model_dump(exclude={"seconds"}) for trial in found.trials]


def forget_from_the_first_pruned(found: SearchDirectory) -> None:
    """As if killed before the line of that trial was written; its run directory is there."""
    n = next(trial.number for trial in found.trials if trial.status == "pruned")
    written = (found.path / "trials.jsonl").read_text().splitlines(keepends=True)
    (found.path / "trials.jsonl").write_text("".join(written[:n]))


@pytest.mark.slow
def test_hopeless_trials_are_cut_and_the_result_is_the_same(quick, base, tmp_path):
    cut, whole = search(base, tmp_path / "cut"), search(base, tmp_path / "whole", prune=False)
    assert [trial.values for trial in cut.trials] == [trial.values for trial in whole.trials]
    assert {trial.status for trial in whole.trials} == {"complete"}
    pruned = [trial for trial in cut.trials if trial.status == "pruned"]
    assert pruned
    for trial in pruned:
        assert trial.values["training.learning_rate"] < 1e-3
        assert 4 <= trial.epochs < 8
        assert trial.best_epoch <= trial.epochs
        assert cut.value(trial) < cut.value(cut.best())
        kept = {file.name for file in cut.run_path(trial.number).iterdir()}
        assert kept == {"manifest.json", "config.yaml", "metrics.jsonl"}
    assert cut.best().model_dump(exclude={"seconds"}) == whole.best().model_dump(
        exclude={"seconds"}
    )
    assert search(base, tmp_path / "cut").trials == cut.trials  # as it was written, it is read


@pytest.mark.slow
def test_a_pruned_trial_that_was_not_written_down_is_pruned_again(quick, base, tmp_path):
    found = search(base, tmp_path / "s")
    forget_from_the_first_pruned(found)
    assert lines(search(base, tmp_path / "s")) == lines(found)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["signals", "first batch", "epoch 2", "epoch 4"])
def test_a_trial_interrupted_before_it_was_pruned_is_pruned_where_it_would_have_been(
    quick, base, tmp_path, where
):
    """Before there are metrics, in the warm-up, and at the very epoch at which it is cut."""
    whole = search(base, tmp_path / "whole")
    cut = next(trial for trial in whole.trials if trial.status == "pruned")
    assert cut.epochs == 4
    now = []

    def interrupt(place):
        if now[-1] == cut.number and place == where:
            raise KeyboardInterrupt

    training = Callbacks(
        on_stage=lambda text: interrupt("signals") if "signals" in text else None,
        on_batch=lambda: interrupt("first batch"),
        on_epoch=lambda report: interrupt(f"epoch {report.epoch}"),
    )
    callbacks = SearchCallbacks(
        on_trial=lambda number, values: now.append(number), training=training
    )
    with pytest.raises(TrainingInterrupted):
        search(base, tmp_path / "s", callbacks=callbacks)
    assert lines(search(base, tmp_path / "s")) == lines(whole)


@pytest.mark.slow
def test_what_is_pruned_does_not_depend_on_the_pace_of_checkpoints(
    quick, base, tmp_path, monkeypatch
):
    often = search(base, tmp_path / "often")
    monkeypatch.setattr(
        CheckpointThrottle,
        "is_due",
        lambda throttle: throttle._written == -math.inf,
    )
    assert lines(search(base, tmp_path / "seldom")) == lines(often)


@pytest.mark.slow
def test_without_pruning_what_was_pruned_and_not_written_down_is_finished(quick, base, tmp_path):
    found = search(base, tmp_path / "s")
    forget_from_the_first_pruned(found)
    again = search(base, tmp_path / "s", prune=False)
    assert {(trial.status, trial.epochs) for trial in again.trials} == {("complete", 8)}


@pytest.mark.slow
def test_pruning_may_be_switched_while_a_search_goes_on(quick, base, tmp_path):
    search(base, tmp_path / "s", trials=3, prune=False)
    found = search(base, tmp_path / "s", prune=True)
    assert {trial.status for trial in found.trials[:3]} == {"complete"}
    assert "pruned" in {trial.status for trial in found.trials[3:]}
    assert [len(curve) for curve in found.curves()] == [8] * sum(
        t.status == "complete" for t in found.trials
    )
    assert SearchDirectory.open(tmp_path / "s").info.budget.prune


@pytest.mark.slow
def test_damaged_metrics_of_a_trial_are_told(quick, base, tmp_path):
    found = search(base, tmp_path / "s", trials=2)
    (found.run_path(0) / "metrics.jsonl").write_text(json.dumps({"epoch": 1}) + "\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl: is damaged"):
        search(base, tmp_path / "s", trials=3)


def test_a_search_of_before_there_was_pruning_prunes_nothing():
    assert not Budget.model_validate_json('{"trials": 3, "minutes": null}').prune


def test_a_run_tells_its_validation_curve(base, tmp_path):
    # With a weight of EASE that is given, the value of a trial is that of its best epoch.
    model = base.model.model_copy(update={"ease_scale": 1.0})
    found = search(base.model_copy(update={"model": model}), tmp_path / "s", trials=1)
    curve = RunDirectory.open(found.run_path(0)).validation_curve("ndcg@20")
    assert list(curve) == list(range(1, 9))
    assert max(curve.values()) == found.value(found.best())
