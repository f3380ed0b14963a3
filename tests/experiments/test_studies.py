"""Studies on small planted data: what they train, what they find, and how they go on."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from study_bench import StudyBench

from ld4mrec_cli.config import iter_switches
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.experiments.study.ablation import parse_vary
from ld4mrec_cli.experiments.study.derived import OtherContent, open_derived
from ld4mrec_cli.experiments.study.inference import crossing_point, report_inference
from ld4mrec_cli.experiments.study.measure import Measured
from ld4mrec_cli.experiments.study.noise_report import report_noise
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, RunError, TrainingInterrupted, UserError


@pytest.fixture
def bench(tmp_path, planted_dataset):
    return StudyBench(tmp_path, planted_dataset)


def titles(plan):
    return [variant.title for variant in plan.variants]


def test_every_marked_switch_that_is_on_has_a_variant(bench):
    everything = {
        "model": {
            "ials": True,
            "ease": True,
            "ease_content_weight": 1.0,
            "ease_nonnegative": True,
        },
        "diffusion": {"noise_scale": 0.1},
    }
    everything["model"]["trend_half_life"] = 1000.0
    everything["data"] = {"history_half_life": 4.0}
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
    assert "without fading histories" not in changed  # the split is not in time
    assert changed["as published (paper)"]["data.history_half_life"] == "off"


def test_content_in_ease_is_a_part_where_there_is_content(bench):
    for name, modalities, is_there in (("some", None, True), ("none", [], False)):
        sections = {"model": {"ease": True}, "data": {"modalities": modalities}}
        plan = bench.plan("ablation", [bench.file(f"{name}.yaml", **sections)])
        assert ("without content in B" in titles(plan)) == is_there
        assert "without EASE" in titles(plan)


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
    assert "falls with model.ease=false" in report.answer.lower()
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


def test_inference_reads_the_same_weights_with_other_steps(bench):
    (variant,) = bench.plan("inference", [bench.file("one.yaml")]).variants
    config = variant.system.config
    assert config.diffusion.noise_scale > 0.0
    names = [reading.name for reading in variant.readings]
    assert names == ["", "k2", "k3", "k4", "k5", *(f"start{t}" for t in range(1, 6))]
    for reading in variant.readings[1:]:
        changed = reading.config(config)
        differing = {
            key
            for key, value in changed.diffusion.model_dump().items()
            if value != getattr(config.diffusion, key)
        }
        assert differing == {key.partition(".")[2] for key in reading.overrides}


@pytest.mark.slow
def test_inference_measures_accuracy_and_time(bench):
    outcome, report = bench.study("inference", [bench.file("one.yaml")], seeds=(0, 1))
    assert not outcome.failures
    assert len(bench.train.calls) == 2  # the weights of all readings
    rows = {row[0]: row for row in report.tables[0].table.rows}
    assert len(rows) == 10
    assert float(rows["ld4mrec, K = 5"][-1]) > 0.0
    assert "K = 5 takes" in report.answer
    found = bench.json("inference")["variants"][0]["evaluations"]
    one, many = found["as trained"][0]["metrics"], found["k5"][0]["metrics"]
    assert one != many
    assert crossing_point({}) is None


def measured(seed, values, metrics=("ndcg@20", "recall@20")):
    return Measured(
        seed,
        {name: float(values.mean()) for name in metrics},
        dict.fromkeys(metrics, values),
        None,
        None,
        None,
        1.0,
    )


def test_users_are_counted_where_the_first_evaluation_is_a_probe(bench):
    """As in a study of cold start whose first training fails."""
    plan = bench.plan("inference", [bench.file("one.yaml", diffusion={"noise_scale": 0.1})])
    outcome, (variant, *_) = Outcome(plan), plan.variants
    assert outcome.n_users is None
    outcome.add(variant, "probe", measured(0, np.zeros(3), metrics=("recall",)))
    assert outcome.n_users is None
    outcome.add(variant, "", measured(0, np.zeros(7)))
    assert outcome.n_users == 7


def test_steps_are_compared_with_one_step_of_the_same_seed(bench):
    """Seeds differ by far more than steps do, and K = 2 has lost a seed."""
    plan = bench.plan("inference", [bench.file("one.yaml")], seeds=(0, 1, 2, 3))
    (variant,) = plan.variants
    rng = np.random.default_rng(0)
    outcome = Outcome(plan)
    for seed in plan.seeds:
        one_step = 0.2 * seed + 0.1 * rng.random(200)
        gains = {"": 0.0, "k2": -0.01, "k3": 0.01, "k4": 0.0, "k5": 0.0}
        for reading, gain in gains.items():
            if (reading, seed) != ("k2", 0):
                moved = gain + 0.002 * rng.normal(size=200) if reading else 0.0
                outcome.add(variant, reading, measured(seed, one_step + moved))
    report = report_inference(outcome)
    assert "is better from K = 3 on" in report.answer
    tests = {(one["a"], one["metric"]): one for one in report.data["tests"]}
    lost = tests["ld4mrec, K = 2", "ndcg@20"]
    assert lost["significant"]
    assert lost["difference"] == pytest.approx(-0.01, abs=0.001)
    assert not tests["ld4mrec, K = 4", "ndcg@20"]["significant"]


def test_areas_are_compared_seed_by_seed(bench):
    """The noise of a seed harms both systems alike; the second always loses a little more."""
    options = {"types": ("random",), "levels": (0.2,)}
    plan = bench.plan("noise", (), ["ease", "itemknn"], seeds=(0, 1, 2, 3), **options)
    rng = np.random.default_rng(0)
    outcome = Outcome(plan)
    for variant in plan.variants:
        for seed in variant.seeds(plan.seeds):
            values = np.full(300, 0.5)
            if variant.facts["level"]:
                more = 0.02 if variant.facts["system"] == "itemknn" else 0.0
                values = values - 0.1 * seed - more + 0.01 * rng.normal(size=300)
            outcome.add(variant, "", measured(seed, values))
    report = report_noise(outcome)
    assert "less than itemknn (random)" in report.answer
    (test, _) = report.data["tests"]
    assert test["difference"] == pytest.approx(-0.02, abs=0.003)  # half of .02 / .5
    assert test["significant"]


def test_inference_is_of_models_with_steps(bench):
    with pytest.raises(UserError, match="'ease' has no steps to choose"):
        bench.plan("inference", (), ["ease"])


def test_modalities_plans_every_subset_and_the_controls(bench):
    plan = bench.plan("modalities", (), ["ease", "vbpr"])
    assert titles(plan)[:9] == [
        "ease: image + text",
        "ease: image",
        "ease: text",
        "ease: no content",
        "ease: shuffled",
        "ease: 25% without content",
        "ease: 50% without content",
        "ease: 75% without content",
        "ease: 100% without content",
    ]
    assert "vbpr: no content" not in titles(plan)
    assert "vbpr: 100% without content" not in titles(plan)


@pytest.mark.slow
def test_modalities_finds_the_content_that_helps_and_not_the_noise(bench, noisy_text_dataset):
    """Planted: the image shows the cluster that users like, the text is noise."""
    bench.data = noisy_text_dataset
    file = bench.file("ease.yaml", ease={"content_weight": 10.0, "ridge": 200.0})
    with open(file, "a") as stream:
        stream.write("model_name: ease\n")
    outcome, report = bench.study("modalities", [f"ease={file}"], seeds=(0, 1, 2))
    assert not outcome.failures
    assert re.search(r"ease: image \(\+0\.\d+\) helps, ", report.answer)
    assert not re.search(r"text \(\+[\d.]+\) helps", report.answer)
    verdicts = {one["a"]: one for one in bench.json("modalities")["tests"]}
    shuffled = verdicts["ease: shuffled"]
    assert shuffled["significant"]
    assert shuffled["difference"] < 0.0


@pytest.mark.slow
def test_derived_content_is_shuffled_or_missing_as_asked(tmp_path, planted_dataset):
    source = Dataset.open(planted_dataset)
    before = source.modality("image")
    shuffled = open_derived(OtherContent("shuffled", 1.0, ("image",)), source, tmp_path / "d", 3)
    after = shuffled.modality("image").values
    assert not np.array_equal(after, before.values)
    assert np.array_equal(np.sort(after, axis=0), np.sort(before.values, axis=0))
    half = open_derived(OtherContent("missing", 0.5, ("image",)), source, tmp_path / "d", 3)
    assert half.modality("image").present.mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(half.modality("text").values, source.modality("text").values)
    for split in ("train", "valid", "test"):
        assert half.interactions(split).equals(source.interactions(split))
    again = open_derived(OtherContent("missing", 0.5, ("image",)), source, tmp_path / "d", 3)
    assert again.hash == half.hash
    with pytest.raises(RunError, match="was made of other data"):
        open_derived(OtherContent("missing", 0.5, ("image",)), half, tmp_path / "d", 3)


@pytest.fixture(scope="module")
def noisy_text_dataset(tmp_path_factory):
    """Users who like one of ten kinds of items; the image shows the kind, the text is noise."""
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("data") / "planted"
    rng, n_kinds, n_items = np.random.default_rng(0), 10, 500
    kind = np.arange(n_items) % n_kinds
    liked = [
        rng.choice(np.flatnonzero(kind == user % n_kinds), 7, replace=False) for user in range(600)
    ]
    rows = [f"u{user},i{item}" for user, items in enumerate(liked) for item in items]
    (raw / "interactions.csv").write_text("\n".join(("user,item", *rows)))
    ids = [f"i{item}" for item in range(n_items)]
    (raw / "items.csv").write_text("\n".join(("item", *ids)))
    image = np.eye(n_kinds)[kind] + 0.05 * rng.normal(size=(n_items, n_kinds))
    np.save(raw / "image_feat.npy", image.astype(np.float32))
    np.save(raw / "text_feat.npy", rng.normal(size=(n_items, 16)).astype(np.float32))
    prepare(raw, out, PrepareConfig(k_core=1))
    return out


def test_noise_plans_types_by_levels_beside_the_clean_run(bench):
    plan = bench.plan(
        "noise",
        [bench.file("one.yaml")],
        ["ease"],
        types=("random", "similar"),
        levels=(0.1, 0.3),
    )
    assert [variant.label for variant in plan.variants] == [
        f"{system}{noise}"
        for system in ("ld4mrec", "ld4mrec-hard", "ease")
        for noise in ("", "-random-10", "-random-30", "-similar-10", "-similar-30")
    ]
    hard = next(one for one in plan.variants if one.label == "ld4mrec-hard")
    assert not hard.system.config.diffusion.soft_reconstruction
    for options, message in (
        ({"types": ("rando",)}, "unknown noise type 'rando'"),
        ({"levels": (0.0,)}, "--levels 0 is not between"),
    ):
        with pytest.raises(UserError, match=message):
            bench.plan("noise", (), ["ease"], **options)


@pytest.mark.slow
def test_noise_finds_whom_the_planted_noise_harms(bench):
    """Dropping interactions harms item-item weights; what popularity ranks by hardly moves."""
    outcome, report = bench.study(
        "noise", (), ["ease", "popularity"], types=("drop",), levels=(0.3, 0.6), seeds=(0, 1, 2)
    )
    assert not outcome.failures
    assert "more than popularity (drop)" in report.answer
    found = bench.json("noise")
    losses = {(one["system"], one["level"]): one["loss"] for one in found["losses"]}
    assert losses["ease", 0.6] > losses["ease", 0.3] > 0.0
    assert abs(losses["popularity", 0.3]) < losses["ease", 0.3]
    run = RunDirectory.open(bench.root / "noise" / "runs" / "ease-drop-30-seed1")
    noisy, clean = Dataset.open(run.manifest.dataset.path), Dataset.open(bench.data)
    assert len(noisy.interactions("train")) < len(clean.interactions("train"))
    for split in ("valid", "test"):
        assert noisy.interactions(split).equals(clean.interactions(split))


@pytest.mark.slow
def test_noise_says_nothing_where_two_models_are_the_same(bench):
    one, two = bench.file("one.yaml"), bench.file("two.yaml")
    for path in (one, two):
        with open(path, "a") as stream:
            stream.write("model_name: ease\n")
    _, report = bench.study(
        "noise", [f"a={one}", f"b={two}"], types=("random",), levels=(0.2,), seeds=(0, 1)
    )
    assert "for 1 of 1 comparisons no difference is shown" in report.answer
    assert not any(test["significant"] for test in bench.json("noise")["tests"])
