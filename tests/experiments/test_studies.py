"""Studies on small planted data: what they train, what they find, and how they go on."""

from __future__ import annotations

import json
import re

import pytest
from study_bench import StudyBench

from ld4mrec_cli.config import iter_switches
from ld4mrec_cli.experiments.study.ablation import parse_vary
from ld4mrec_cli.utils.errors import ConfigError, RunError, TrainingInterrupted, UserError


@pytest.fixture
def bench(tmp_path, planted_dataset):
    return StudyBench(tmp_path, planted_dataset)


def titles(plan):
    return [variant.title for variant in plan.variants]


def test_every_marked_switch_that_is_on_has_a_variant(bench):
    everything = {
        "model": {"ials": True, "ease": True, "ease_content_weight": 1.0},
        "diffusion": {"noise_scale": 0.1},
    }
    plan = bench.plan("ablation", [bench.file("one.yaml", **everything)])
    parts = [mark.part for _, mark in iter_switches("ld4mrec")]
    assert len(parts) >= 13
    for part in parts:
        assert any(title.startswith(f"without {part}") for title in titles(plan)), part
    signals = [title for title in titles(plan) if "guidance by" in title]
    assert signals == [f"without guidance by {name}" for name in ("collaborative", "image", "text")]
    assert titles(plan)[-3:] == ["EASE^R alone", "iALS alone", "as published (paper)"]


def test_a_variant_differs_in_its_part_alone(bench):
    plan = bench.plan("ablation", [bench.file("one.yaml")])
    whole, *variants = plan.variants
    changed = {}
    for variant in variants:
        before, after = whole.system.config.model_dump(), variant.system.config.model_dump()
        changed[variant.title] = {
            f"{section}.{key}": value
            for section, values in after.items()
            if isinstance(values, dict)
            for key, value in values.items()
            if before[section][key] != value
        }
    assert changed["without BD-Blocks"] == {"model.bd_blocks": 0}
    assert changed["without guidance by text"] == {"model.guidance": ("collaborative", "image")}
    off = {"diffusion.mask_rate": 0.0, "training.target": "all"}
    assert changed["without masking"] == off
    assert "without EASE" not in changed  # it is off in the small configuration
    assert "without importance sampling" not in changed  # it does nothing without noise


def test_vary_takes_values_one_by_one_or_crossed(bench):
    vary = ("model.hidden_dim=8,12", "model.guidance=[],[text]")
    file = bench.file("one.yaml")
    alone = bench.plan("ablation", [file], vary=vary)
    assert titles(alone)[1:] == [
        "model.hidden_dim=8",
        "model.hidden_dim=12",
        "model.guidance=[]",
        "model.guidance=['text']",
    ]
    crossed = bench.plan("ablation", [file], vary=vary, is_crossed=True)
    assert titles(crossed)[1:] == [
        f"model.hidden_dim={width}, model.guidance={names}"
        for width in (8, 12)
        for names in ([], ["text"])
    ]


@pytest.mark.parametrize("text", ["a", "model.hidden_dim", "=1", "model.hidden_dim=", "a.b=[1"])
def test_a_malformed_vary_is_refused(text):
    with pytest.raises(ConfigError, match="--vary"):
        parse_vary(text)


def test_an_unknown_setting_or_value_is_refused_before_a_training(bench):
    for vary, message in (("model.size=1", "unknown key"), ("model.hidden_dim=x", "hidden_dim")):
        with pytest.raises(ConfigError, match=message):
            bench.plan("ablation", [bench.file("one.yaml")], vary=(vary,))
    with pytest.raises(UserError, match="two variants are called"):
        bench.plan("ablation", [bench.file("one.yaml")], vary=("model.hidden_dim=8,8",))


@pytest.mark.slow
def test_the_ablation_finds_the_part_that_carries_the_accuracy(bench):
    """Without an epoch of training to speak of, EASE is what ranks."""
    file = bench.file("one.yaml", model={"ease": True})
    outcome, report = bench.study(
        "ablation", [file], vary=("model.ease=false", "model.dropout=0.5001"), seeds=(0, 1, 2)
    )
    assert "falls model.ease=False" in report.answer or "falls model.ease=false" in report.answer
    assert "for the other 1 no difference is shown" in report.answer
    assert not outcome.failures
    found = bench.json("ablation")
    verdicts = {(one["a"], one["metric"]): one["significant"] for one in found["tests"]}
    assert verdicts["model.ease=false", "ndcg@20"]
    assert not verdicts["model.dropout=0.5001", "ndcg@20"]


@pytest.mark.slow
@pytest.mark.pictures
def test_the_page_is_whole_and_asks_for_nothing(bench):
    vary = ("model.hidden_dim=8",)
    bench.study("ablation", [bench.file("one.yaml")], vary=vary, seeds=(0,))
    out = bench.root / "ablation"
    page = (out / "study.html").read_text()
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == 1
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|<script|@import', page)
    assert re.search(r'<img alt="Difference in NDCG@20[^"]+model.hidden_dim=8', page)
    assert page.index('class="answer"') < page.index("<img") < page.index("<table")
    assert page.index("<table") < page.index("How it was done")
    assert "ld4mrec study ablation" in page
    assert "in these runs" in page  # one seed
    markdown = (out / "study.md").read_text()
    assert "![Difference in NDCG@20" in markdown
    assert (out / "study-1.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_killed_study_goes_on_and_its_report_is_the_same(bench):
    arguments = ("ablation", [bench.file("one.yaml")])
    options = {"vary": ("model.hidden_dim=8", "model.bd_blocks=0"), "seeds": (0, 1)}
    for number in (1, 3, 2):
        bench.train.before = lambda now, at=number: interrupt_at(now, at)
        bench.train.calls.clear()
        with pytest.raises(TrainingInterrupted, match="Continue it with the same command"):
            bench.study(*arguments, **options)
    bench.train.before = lambda number: None
    bench.study(*arguments, **options)
    files = {path.name: path.read_bytes() for path in (bench.root / "ablation").glob("study.*")}
    bench.train.calls.clear()
    bench.study(*arguments, **options)
    assert bench.train.calls == []
    again = {path.name: path.read_bytes() for path in (bench.root / "ablation").glob("study.*")}
    assert again == files
    bench.study(*arguments, **options, out="whole")
    assert values(bench.json("whole")) == values(bench.json("ablation"))


def interrupt_at(now, at):
    if now == at:
        raise KeyboardInterrupt


def values(found):
    """What does not tell of time and place."""
    text = json.dumps({key: found[key] for key in ("answer", "findings", "tests", "variants")})
    return re.sub(r'"(training_seconds|peak_memory_mb|scoring_ms)": [\d.]+', "", text)


@pytest.mark.slow
def test_another_study_does_not_take_the_directory(bench):
    bench.study("ablation", [bench.file("one.yaml")], vary=("model.hidden_dim=8",), seeds=(0,))
    path = bench.root / "ablation" / "study.json"
    path.write_text(path.read_text().replace('"study": "ablation"', '"study": "other"'))
    with pytest.raises(RunError, match="holds the study 'other'"):
        bench.study("ablation", [bench.file("one.yaml")], vary=("model.hidden_dim=8",))


@pytest.mark.slow
def test_a_failed_training_is_reported_and_the_others_go_on(bench):
    vary = ("data.modalities=[sound]", "model.hidden_dim=8")
    outcome, report = bench.study("ablation", [bench.file("one.yaml")], vary=vary, seeds=(0,))
    assert len(outcome.failures) == 1
    assert "has no modality 'sound'" in outcome.failures[0]
    assert [row[0] for row in report.tables[0].table.rows] == ["whole", "model.hidden_dim=8"]
    assert "has no modality" in (bench.root / "ablation" / "study.html").read_text()
