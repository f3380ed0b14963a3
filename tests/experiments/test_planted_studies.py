"""Studies of data whose truth is planted: they find what is there, and nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from study_bench import StudyBench

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.evaluation.mean_difference import Sample
from ld4mrec_cli.experiments.study.cold_probes import cut_histories
from ld4mrec_cli.experiments.study.derived import OtherContent, WithoutItems, open_derived
from ld4mrec_cli.experiments.study.new_item_probe import complete
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import UserError

N_USERS, N_ITEMS, N_KINDS, N_LIKED = 400, 500, 10, 16


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Users like items of one kind, which the image shows; the interactions show it, too."""
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("data") / "kinds"
    rng, kind = np.random.default_rng(0), np.arange(N_ITEMS) % N_KINDS
    rows = ["user,item"]
    for user in range(N_USERS):
        own = np.flatnonzero(kind == user % N_KINDS)
        rows += [f"u{user},i{item}" for item in rng.choice(own, N_LIKED, replace=False)]
    (raw / "interactions.csv").write_text("\n".join(rows))
    (raw / "items.csv").write_text("\n".join(("item", *(f"i{n}" for n in range(N_ITEMS)))))
    image = np.eye(N_KINDS)[kind] + 0.05 * rng.normal(size=(N_ITEMS, N_KINDS))
    np.save(raw / "image_feat.npy", image.astype(np.float32))
    prepare(raw, out, PrepareConfig(k_core=1))
    return out


def ease_file(bench):
    path = bench.file("ease.yaml", ease={"content_weight": 1.0, "ridge": 50.0})
    with open(path, "a") as stream:
        stream.write("model_name: ease\n")
    return f"ease={path}"


def verdicts(found):
    """Whether a difference is shown, and which, by metric and systems."""
    return {
        (one["metric"], one["b"], one["a"]): one["difference"] if one["significant"] else 0.0
        for one in found["tests"]
    }


@pytest.mark.slow
def test_content_that_matters_for_new_items_alone_is_found_there_alone(kinds, tmp_path):
    bench = StudyBench(tmp_path, kinds)
    file = ease_file(bench)
    outcome, report = bench.study("cold-start", [file], seeds=(0, 1, 2))
    assert not outcome.failures
    assert "on held-out items is ahead of chance" in report.answer
    found = bench.json("cold-start")
    new = found["recall"]["new items"]
    assert new["chance"] == pytest.approx(20 / 50)
    assert new["ease"] > 0.95
    assert new["content kNN"] > 0.95  # the image shows all there is to know
    shown = verdicts(found)
    assert shown["new items", "content kNN", "ease"] == pytest.approx(0.0, abs=0.02)
    assert shown["history of 1", "popularity", "ease"] > 0.1
    outcome, report = bench.study("modalities", [file], seeds=(0, 1, 2))
    assert not outcome.failures
    assert "ease: of image nothing is shown" in report.answer


@pytest.mark.slow
def test_content_without_information_is_no_better_than_chance(kinds, tmp_path):
    source = Dataset.open(kinds)
    shuffled = open_derived(OtherContent("shuffled", 1.0, ("image",)), source, tmp_path / "d", 0)
    bench = StudyBench(tmp_path, shuffled.directory)
    _, report = bench.study("cold-start", [ease_file(bench)], seeds=(0, 1, 2))
    assert re.search(r"on held-out items is not shown to differ from any other", report.answer)


@pytest.mark.slow
def test_of_two_noise_types_the_one_that_harms_is_found(kinds, tmp_path):
    """Items of one taste stay together among random clicks, and fall apart where few are left."""
    bench = StudyBench(tmp_path, kinds)
    options = {"types": ("random", "drop"), "levels": (0.8,), "seeds": (0, 1, 2)}
    outcome, report = bench.study("noise", (), ["ease"], **options)
    assert not outcome.failures
    losses = {one["type"]: one["by_seed"].values() for one in bench.json("noise")["losses"]}
    assert min(losses["drop"]) > 0.2
    assert max(map(abs, losses["random"])) < 0.06
    costs = re.search(r"random (\S+)%, drop (\S+)% of its NDCG@20", report.answer).groups()
    assert float(costs[1]) > 10.0
    assert abs(float(costs[0].replace("−", "-"))) < 3.0


def test_histories_are_cut_to_nested_draws_of_the_seed():
    rng = np.random.default_rng(0)
    rows = csr_matrix((rng.random((30, 40)) < 0.2) * rng.random((30, 40)))
    lengths = np.diff(rows.indptr)
    before = None
    for length in (1, 2, 5, 100):
        cut = cut_histories(rows, length, seed=3)
        assert np.diff(cut.indptr).tolist() == np.minimum(lengths, length).tolist()
        assert (cut != rows.multiply(cut > 0)).nnz == 0
        if before is not None:
            assert (before > cut).nnz == 0
        before = cut
    assert (before != rows).nnz == 0
    draws = [cut_histories(rows, 2, seed) for seed in (3, 3, 4)]
    assert (draws[0] != draws[1]).nnz == 0
    assert (draws[0] != draws[2]).nnz > 0


def test_values_of_other_users_for_each_seed_keep_mean_and_variance():
    rng = np.random.default_rng(1)
    values = {seed: (np.arange(10), np.full(10, 0.5)) for seed in (0,)}
    values[1] = (np.arange(5, 15), np.linspace(0.0, 1.0, 10))
    parts = complete(values)
    assert {seed: len(part) for seed, part in parts.items()} == {0: 15, 1: 15}
    for seed, (_, own) in values.items():
        assert parts[seed].mean() == pytest.approx(own.mean())
    means, errors = [], []
    for _ in range(300):
        users = np.flatnonzero(rng.random(400) < 0.5)
        own = rng.beta(0.5, 2.0, len(users))
        everyone = complete({0: (users, own), 1: (np.arange(400), np.zeros(400))})[0]
        means.append(everyone.mean())
        errors.append(Sample(everyone[None]).per_user.std(ddof=1) / 20.0)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)


def test_forgotten_items_keep_their_place_and_content(kinds, tmp_path):
    source = Dataset.open(kinds)
    derivation = WithoutItems(0.1, stay_in_catalog=True)
    forgotten = open_derived(derivation, source, tmp_path, 7)
    held_out = open_derived(WithoutItems(0.1), source, tmp_path, 7)
    assert forgotten.shape == source.shape
    assert held_out.shape[1] == N_ITEMS - 100
    cold = derivation.open_samples(source, forgotten, 7)
    gone = np.concatenate([*cold.samples.values()])
    for split in ("train", "valid", "test"):
        kept = forgotten.matrix(split)
        assert kept[:, gone].nnz == 0
        assert (kept[:, cold.kept] != held_out.matrix(split)).nnz == 0
    before, after = source.modality("image"), forgotten.modality("image")
    assert np.array_equal(before.values, after.values)


def test_cold_start_plans_what_each_model_can_do(bench):
    plan = bench.plan("cold-start", [bench.file("one.yaml")], ["vbpr", "freedom", "bm3"])
    labels = [variant.label for variant in plan.variants]
    assert labels == [
        "ld4mrec",
        "ld4mrec-new",
        "vbpr",
        "vbpr-new",
        "freedom",
        "freedom-new",
        "bm3",
        "popularity",
        "popularity-new",
    ]
    by_label = dict(zip(labels, plan.variants, strict=True))
    assert [one.name for one in by_label["vbpr"].readings] == [""]  # no vectors for new users
    assert [one.name for one in by_label["ld4mrec"].readings][:3] == ["", "history1", "history2"]
    stays = {
        label: variant.derivation.stay_in_catalog
        for label, variant in by_label.items()
        if variant.derivation
    }
    assert [label for label, kept in stays.items() if kept] == ["freedom-new"]
    assert "knn-history1" in [one.name for one in by_label["popularity"].readings]


def test_cold_start_of_models_that_the_dataset_lacks_content_for_is_refused(bench):
    file = bench.file("vbpr.yaml", data={"modalities": []})
    with open(file, "a") as stream:
        stream.write("model_name: vbpr\n")
    with pytest.raises(UserError, match="no system is left"):
        bench.plan("cold-start", [file])


@pytest.fixture
def bench(tmp_path, planted_dataset):
    return StudyBench(tmp_path, planted_dataset)
