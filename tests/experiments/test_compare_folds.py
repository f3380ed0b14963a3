"""Comparisons over folds, and with the lists of other tools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import torch
from compare_bench import Bench
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.data.folds import open_folds
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.experiments.compare.comparison import compare
from ld4mrec_cli.experiments.compare.given import parse_given
from ld4mrec_cli.experiments.compare.plan import plan_comparison
from ld4mrec_cli.experiments.compare.report import main_table, markdown
from ld4mrec_cli.experiments.compare.systems import read_systems
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.errors import DatasetError, UnknownIdError, UserError


@dataclass
class FoldBench(Bench):
    """Comparisons over a directory of folds."""

    def compare_folds(self, models=(), lists=(), configs=(), seeds=(0,), datasets=None, **options):
        datasets = datasets or open_folds(self.data)
        flags = {"data.path": str(datasets[0].directory)}
        given = parse_given(lists)
        systems = read_systems(configs, models, (), flags, max(2 - len(given), 0))
        plan = plan_comparison(
            *(systems, datasets, seeds, "test", "ndcg@20", torch.device("cpu")),
            *(self.root / "out", given),
            **options,
        )
        return compare(plan, self.said.append, self.train)


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    root = tmp_path_factory.mktemp("folds")
    (root / "raw").mkdir()
    size = SyntheticSize(users=80, items=40, interactions_per_user=9)
    write_synthetic(root / "raw", seed=1, size=size)
    prepare(root / "raw", root / "data", PrepareConfig(split="k-fold", folds=3))
    return root / "data"


@pytest.fixture
def bench(tmp_path, folds):
    return FoldBench(tmp_path, folds)


def lists_of(dataset, seed, depth=25):
    """Lists in random order, of all users, as a table."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(dataset.shape[0]), depth)
    items = np.concatenate([rng.permutation(dataset.shape[1])[:depth] for _ in dataset.users.ids])
    return pl.DataFrame(
        {
            "user": [dataset.users[user] for user in users],
            "item": [dataset.items[item] for item in items],
            "rank": np.tile(np.arange(1, depth + 1), dataset.shape[0]),
        }
    )


@pytest.mark.slow
def test_a_figure_is_the_mean_over_folds_and_the_difference_is_paired(bench):
    found = bench.compare_folds(["ease", "popularity"], seeds=(4,))
    assert [one.name for one in found.folds] == [f"data-fold-{n}" for n in (1, 2, 3)]
    by_label = {}
    for system in found.systems:
        assert [run.fold for run in system.runs] == [1, 2, 3]
        per_fold = []
        for run, dataset in zip(system.runs, open_folds(bench.data), strict=True):
            opened = RunDirectory.open(bench.root / "out" / run.path)
            assert opened.manifest.dataset.name == dataset.name
            own = evaluate_run(
                opened, dataset, "test", EvaluationConfig(k=(20,)), torch.device("cpu")
            )
            assert own.metrics["ndcg@20"] == pytest.approx(run.metrics["ndcg@20"])
            per_fold.append(own.metrics["ndcg@20"])
        spread = system.metrics["ndcg@20"]
        assert (spread.mean, spread.std) == pytest.approx(
            (np.mean(per_fold), np.std(per_fold, ddof=1))
        )
        by_label[system.label] = spread.mean
    pair = found.against("ndcg@20", "ease", "popularity")
    assert pair.difference == pytest.approx(by_label["ease"] - by_label["popularity"])
    assert pair.over_seeds
    assert "data-fold-1 … data-fold-3 (3 folds)" in markdown(found)
    assert [row[1] for row in main_table(found).rows] == ["3 × –", "3 × –"]
    again = bench.compare_folds(["ease", "popularity"], seeds=(4,))
    assert len(bench.train.calls) == 6  # nothing was trained twice
    assert again.pairs == found.pairs


@pytest.mark.slow
def test_a_system_that_fails_in_a_fold_is_not_compared(bench):
    def fail(number):
        if number == 5:
            raise DatasetError("the disk is gone")

    bench.train.before = fail
    found = bench.compare_folds(["ease", "popularity", "itemknn"])
    assert [one.label for one in found.working] == ["ease", "itemknn"]
    rows = {row[0]: row[1:3] for row in main_table(found).rows}
    assert rows["popularity"] == ["2 of 3", "failed"]
    assert "popularity failed in fold 2: the disk is gone" in markdown(found)


def test_lists_of_other_tools_stand_in_the_table(bench):
    for number, dataset in enumerate(open_folds(bench.data), start=1):
        for seed in (0, 1):
            table = lists_of(dataset, seed + 10 * number)
            table.write_csv(bench.root / f"a{seed}-{number}.csv")
        lists_of(dataset, 99).write_parquet(bench.root / f"b-{number}.parquet")
    files = [f"a={bench.root}/a{seed}-{{fold}}.csv" for seed in (0, 1)]
    found = bench.compare_folds(lists=[*files, f"b={bench.root}/b-{{fold}}.parquet"])
    assert not bench.train.calls
    first, second = found.systems
    assert (first.model, first.label, len(first.runs)) == ("lists", "a", 6)
    assert first.runs[0].path == f"{bench.root}/a0-1.csv"
    assert [row[1] for row in main_table(found).rows] == ["3 × 2", "3 × 1"]
    assert first.training_seconds is None
    assert second.metrics["recall@20"].mean > 0.0
    assert found.against("recall@20", "a", "b").equal < found.n_users


def test_one_file_of_lists_holds_for_this_run_alone(bench):
    (dataset, *_) = open_folds(bench.data)
    lists_of(dataset, 0).write_csv(bench.root / "a.csv")
    lists_of(dataset, 1).write_csv(bench.root / "b.csv")
    flags = [f"{name}={bench.root}/{name}.csv" for name in "ab"]
    found = bench.compare_folds(lists=flags, datasets=[dataset])
    assert not found.against("ndcg@20", "a", "b").over_seeds
    assert found.folds == []
    assert found.n_users == dataset.schema.splits["test"].users


def test_lists_are_refused_before_anything_is_trained(bench):
    (dataset, *_) = open_folds(bench.data)
    lists_of(dataset, 0).with_columns(user=pl.lit("stranger")).head(3).write_csv(
        bench.root / "a.csv"
    )
    flags = [f"a={bench.root}/a.csv"]
    with pytest.raises(UnknownIdError, match="unknown user 'stranger'"):
        bench.compare_folds(["ease"], lists=flags, datasets=[dataset])
    assert not bench.train.calls
    with pytest.raises(UserError, match="does not say where the number of the fold is"):
        bench.compare_folds(["ease"], lists=flags)
    with pytest.raises(UserError, match="2 systems are labeled 'ease'"):
        bench.compare_folds(["ease"], lists=["ease=x.csv"], datasets=[dataset])
    with pytest.raises(DatasetError, match="is the same data as"):
        bench.compare_folds(["ease", "popularity"], datasets=[dataset, dataset])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["lists.csv"], "is not of the form LABEL=FILE"),
        (["=x"], "is not of the form"),
        (["../x=y"], "is not of the form"),
        (["a=x", "a=x"], "names x twice for a"),
    ],
)
def test_flags_of_lists(flags, message):
    with pytest.raises(UserError, match=message):
        parse_given(flags)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6))
def test_a_repeated_label_is_one_system_of_several_seeds(labels):
    found = parse_given([f"{label}=file{n}" for n, label in enumerate(labels)])
    assert [one.label for one in found] == list(dict.fromkeys(labels))
    assert sum(len(one.files) for one in found) == len(labels)
