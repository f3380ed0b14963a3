"""What is printed of a comparison whose figures are known."""

from __future__ import annotations

import pytest

from ld4mrec_cli.experiments.compare import report
from ld4mrec_cli.experiments.compare.plots import plot_comparison
from ld4mrec_cli.experiments.compare.results import (
    Comparison,
    DatasetRecord,
    PairResult,
    RunResult,
    SystemResult,
)


def run(seed, value, **changed):
    values = {
        "seed": seed,
        "path": f"runs/{seed}",
        "training_seconds": 100.0 + seed,
        "peak_memory_mb": 500.0 + seed,
        "users_per_second": 1234.0,
        "metrics": {"recall@20": 2 * value, "ndcg@20": value},
        **changed,
    }
    return RunResult(**values)


def pair(a, b, difference, p_holm=0.0004, over_seeds=True):
    low, high = difference - 0.01, difference + 0.01
    significant = p_holm < 0.05 and low * high > 0
    counts = {"a_better": 30, "b_better": 20, "equal": 50, "rank_balance": 0.1}
    counts |= {"detectable": 0.02, "wilcoxon_p": 0.5, "over_seeds": over_seeds}
    return PairResult(
        a=a,
        b=b,
        difference=difference,
        low=low,
        high=high,
        p=p_holm / 3,
        p_holm=p_holm,
        significant=significant,
        **counts,
    )


def comparison(pairs, **values):
    """Three systems with given values over seeds; the last is fitted without one."""
    systems = [
        SystemResult.of(
            label,
            label.upper(),
            None,
            label != "c",
            [run(n, value) for n, value in enumerate(found)],
        )
        for label, found in values.items()
    ]
    return Comparison(
        ld4mrec="1.0",
        created="2026-01-01T00:00:00+00:00",
        dataset=DatasetRecord(name="toy", path="data/toy", hash="0", n_users=120, n_items=50),
        split="test",
        mask="train",
        k=[20],
        n_users=100,
        metric="ndcg@20",
        tested=["recall@20", "ndcg@20"],
        seeds=[0, 1],
        resamples=10_000,
        systems=systems,
        pairs={"recall@20": pairs, "ndcg@20": pairs},
    )


CLEAR = [pair("a", "b", -0.2), pair("a", "c", 0.05, p_holm=0.2), pair("b", "c", 0.25)]


@pytest.fixture
def found():
    return comparison(CLEAR, a=[0.1, 0.2], b=[0.3, 0.4], c=[0.1])


def test_each_is_set_against_the_best_other(found):
    table = report.main_table(found)
    assert table.columns[:4] == ["model", "seeds", "recall@20", "ndcg@20"]
    assert [row[:1] + row[3:6] for row in table.rows] == [
        ["a", "0.1500 ± 0.0707", "-0.2000 [-0.2100, -0.1900]", "<0.001"],
        ["b", "0.3500 ± 0.0707", "+0.2000 [+0.1900, +0.2100]", "<0.001"],
        ["c", "0.1000 ± –", "-0.2500 [-0.2600, -0.2400]", "<0.001"],
    ]
    assert [row[1] for row in table.rows] == ["2", "2", "–"]
    assert table.rows[0][6:] == ["0.0200", "100", "1,234", "501"]


def test_the_leader_is_set_against_every_other(found):
    assert report.pair_table(found, "ndcg@20").rows == [
        [pair, difference, "<0.001", "<0.001", "0.0200", "0.500", *users]
        for pair, difference, users in (
            ("b − a", "+0.2000 [+0.1900, +0.2100]", ("20", "30", "50")),
            ("b − c", "+0.2500 [+0.2400, +0.2600]", ("30", "20", "50")),
        )
    ]


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (CLEAR, "b is better than every other system"),
        ([pair("a", "b", -0.2, 0.2), *CLEAR[1:]], "b leads, but not clearly over a; better than c"),
        (
            [pair("a", "b", -0.2, 0.2), CLEAR[1], pair("b", "c", 0.005)],
            "b leads, but not clearly over a and c",
        ),
        (
            [pair("a", "b", -0.2, over_seeds=False), *CLEAR[1:]],
            "b is better than every other system*",
        ),
        (
            [pair("a", "b", -0.2, over_seeds=False), CLEAR[1], pair("b", "c", 0.005)],
            "b leads, but not clearly over c; better than a*",
        ),
    ],
)
def test_the_verdict_says_what_may_be_chance(pairs, sentence):
    found = comparison(pairs, a=[0.1, 0.2], b=[0.3, 0.4], c=[0.1])
    assert report.verdict(found, "ndcg@20") == f"ndcg@20: {sentence}"


def test_markdown_holds_a_failed_contender_and_its_reason(found):
    broken = SystemResult.of(
        "d", "D", None, True, [RunResult(seed=0, path="runs/d", error="no | memory")]
    )
    text = report.markdown(found.model_copy(update={"systems": [*found.systems, broken]}))
    assert "| d | 0 of 1 | failed | – | – | – | – | – | – | – |" in text
    assert "- d failed with seed 0: no | memory" in text
    assert "covers all 6 tests" in text
    assert "for these runs" not in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_what_holds_for_these_runs_alone_is_marked_and_said():
    pairs = [pair("a", "b", -0.2, over_seeds=False), *CLEAR[1:]]
    text = report.markdown(comparison(pairs, a=[0.1], b=[0.3], c=[0.1]))
    assert "[+0.1900, +0.2100]*" in text
    assert "\\* for these runs: with one seed, how much another seed would change" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.01, "<0.1"), (0.32, "0.3"), (9.94, "9.9"), (10.4, "10"), (12345.6, "12,346")],
)
def test_figures(value, shown):
    assert report._figure(value) == shown


@pytest.mark.pictures
def test_the_picture_is_drawn_for_many_contenders_and_for_one(found, tmp_path):
    from matplotlib.image import imread

    many = [found.systems[0].model_copy(update={"label": f"system-{n}"}) for n in range(12)]
    for number, systems in enumerate((many, found.systems[2:])):
        plot_comparison(found.model_copy(update={"systems": systems}), tmp_path / f"{number}.png")
        image = imread(tmp_path / f"{number}.png")[..., :3]
        assert image.shape[1] > image.shape[0] > 200
        assert (image.min(axis=2) < 0.5).mean() > 0.002
