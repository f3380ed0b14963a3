"""What is chosen of EASE on validation before the training."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation.validation import make_validator
from ld4mrec_cli.models.ease_settings import EASEChoice, EASEConfig
from ld4mrec_cli.models.ops.content_variants import ContentVariants
from ld4mrec_cli.models.ops.item_weights import fit_item_weights
from ld4mrec_cli.runs.run_directory import SIGNALS, RunDirectory
from ld4mrec_cli.training import auto_settings
from ld4mrec_cli.training.auto_settings import choose_autos
from ld4mrec_cli.training.ease_choice import RIDGES, search_ease
from ld4mrec_cli.training.refit import refit
from ld4mrec_cli.training.session import Callbacks, train


@pytest.fixture
def rows() -> csr_matrix:
    return csr_matrix((np.random.default_rng(0).random((60, 40)) < 0.15).astype(np.float32))


@pytest.mark.parametrize(
    "weights", [{}, {"text": 0.0}, {"text": 3.0}, {"text": 3.0, "image": 70.0}, {"image": 0.5}]
)
def test_variants_are_those_of_a_fit_of_their_own(rows, weights):
    rng = np.random.default_rng(1)
    features = {"text": rng.normal(size=(40, 7)), "image": rng.normal(size=(40, 3))}
    features = {name: values.astype(np.float32) for name, values in features.items()}
    settings = EASEConfig(
        ridge=20.0, degree_ridge=0.5, user_exponent=0.5, content_weight=weights, max_items=40
    )
    expected = fit_item_weights(rows, settings, features)
    variants = ContentVariants(rows, 20.0, 0.5, 0.5, features)
    assert_allclose(variants.weights(weights), expected, atol=2e-6)


def test_variants_do_not_share_memory(rows):
    variants = ContentVariants(rows, 20.0, 0.0, 0.0, {})
    first = variants.weights({})
    kept = first.copy()
    first[:] = 0.0
    assert_allclose(variants.weights({}), kept)


AUTO = EASEConfig(ridge="auto", content_weight="auto", nonnegative="auto")


@pytest.mark.parametrize("ridge", [100.0, 400.0, 6400.0])
@pytest.mark.parametrize("text", [0.0, 0.5, 4.0, 32.0, 512.0])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_best_of_smooth_values_is_found(ridge, text, nonnegative):
    """Every kind of setting is found, also where the best weight lies past those tried first."""

    def value(choice: EASEChoice) -> float:
        content = choice.content_weights(["text", "image"])
        miss = abs(np.log2(choice.ridge / ridge)) + abs(
            np.log2(content["text"] + 0.25) - np.log2(text + 0.25)
        )
        return 100.0 - miss - content["image"] - (choice.nonnegative != nonnegative)

    found = search_ease(AUTO, ["text", "image"], value)
    assert found == EASEChoice(ridge, {"text": text, "image": 0.0}, nonnegative)


def test_given_settings_stay():
    settings = EASEConfig(ridge=7.0, content_weight={"text": 2.0}, nonnegative="auto")
    found = search_ease(settings, ["text", "image"], lambda choice: float(choice.nonnegative))
    assert found == EASEChoice(7.0, {"text": 2.0}, nonnegative=True)


def test_nothing_is_gained_nothing_is_changed():
    """A modality or a sign that does not pay is left out; a ridge stays."""
    found = search_ease(AUTO, ["text"], lambda choice: 1.0)
    assert found == EASEChoice(400.0, {"text": 0.0}, nonnegative=False)
    assert found.ridge in RIDGES


def test_a_catalog_is_cut_to_its_most_interacted_items():
    degrees = csr_matrix(np.tri(5, dtype=np.float32))  # item 0 has five interactions, item 4 one
    assert auto_settings._most_interacted(degrees, 3).tolist() == [0, 1, 2]
    assert auto_settings._most_interacted(degrees, 9).tolist() == [0, 1, 2, 3, 4]


KEYS = {"model.ease_ridge", "model.ease_content_weight", "model.ease_nonnegative"}
CHOSEN = {f"{key.replace('.', '__')}": "auto" for key in KEYS}


def same_signals(one: RunDirectory, other: RunDirectory) -> bool:
    return one.manifest.files[SIGNALS] == other.manifest.files[SIGNALS]


def test_a_run_with_chosen_settings_is_one_with_these_settings(planted_config, tmp_path):
    run = train(planted_config(**CHOSEN), tmp_path / "run", Callbacks())
    chosen = run.manifest.chosen
    assert set(chosen) == KEYS
    assert run.config.model.ease_ridge == "auto"
    given = {key.replace(".", "__"): value for key, value in chosen.items()}
    again = train(planted_config(**given), tmp_path / "again", Callbacks())
    assert again.manifest.chosen is None
    assert same_signals(run, again)
    assert run.manifest.best == again.manifest.best


def test_planted_content_gets_weight_and_noise_hardly_any(planted_config, planted_dataset):
    """The image shows what users like, the noise does not."""
    config, dataset = planted_config(**CHOSEN), Dataset.open(planted_dataset)
    train_rows = dataset.matrix("train")
    image = dataset.modality("image").values
    features = {
        "image": image,
        "noise": np.random.default_rng(0).normal(size=image.shape).astype(np.float32),
    }
    validator = make_validator(config.training, config.evaluation, dataset, train_rows)
    chosen = choose_autos(config, train_rows, features, validator)["model.ease_content_weight"]
    assert chosen["image"] >= 4.0
    assert chosen["noise"] == 0.0


def test_a_refit_has_the_chosen_settings(planted_config, tmp_path):
    run = train(planted_config(**CHOSEN, training__max_epochs=1), tmp_path / "run", Callbacks())
    chosen = {**run.manifest.chosen, "model.ease_ridge": 123.0}
    run.update(chosen=chosen)
    done = refit(RunDirectory.open(run.path), None, tmp_path / "refit", Callbacks())
    assert done.config.model.ease_ridge == 123.0
    assert done.config.model.ease_content_weight == chosen["model.ease_content_weight"]
    assert done.manifest.chosen is None
    again = refit(RunDirectory.open(done.path), None, tmp_path / "again", Callbacks())
    assert again.config.model == done.config.model


def test_the_baseline_chooses_as_the_part_of_the_model_does(planted_config, tmp_path):
    run = train(planted_config(**CHOSEN, training__max_epochs=1), tmp_path / "run", Callbacks())
    names = ("ridge", "content_weight", "nonnegative")
    settings = {f"ease__{name}": "auto" for name in names}
    same = {"ease__degree_ridge": 1.0, "ease__user_exponent": 0.5}
    config = planted_config(model_name="ease", **settings, **same)
    ease = train(config, tmp_path / "ease", Callbacks()).manifest.chosen
    chosen = run.manifest.chosen
    assert ease == {f"ease.{name}": chosen[f"model.ease_{name}"] for name in names}


def test_without_ease_nothing_is_chosen(planted_config, tmp_path):
    config = planted_config(**CHOSEN, model__ease=False, training__max_epochs=1)
    assert train(config, tmp_path / "run", Callbacks()).manifest.chosen is None
