"""Weights of a mixture that are chosen on validation after the training."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from ld4mrec_cli.config import Config, load_config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation import part_ranking
from ld4mrec_cli.evaluation.validation import balance_with_recall, make_validator
from ld4mrec_cli.models.ld4mrec import mixture as mixture_module
from ld4mrec_cli.models.ld4mrec import model as model_module
from ld4mrec_cli.models.ld4mrec.guidance import ItemItemWeights
from ld4mrec_cli.models.ld4mrec.mixture import SCALES, IALSScores, Mixture
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import MANIFEST, RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.training import choices
from ld4mrec_cli.training.choices import MixtureValidator
from ld4mrec_cli.training.session import Callbacks, train
from ld4mrec_cli.training.trainer import Trainer
from ld4mrec_cli.utils.errors import ConfigError, RunError

CPU = torch.device("cpu")


def mixture(*fitted: str) -> Mixture:
    ease = ItemItemWeights(np.zeros((3, 3)), 1.0)
    ials = IALSScores(np.zeros((3, 2), np.float32), MODELS["ials"].sections["ials"](), 0.3)
    made = Mixture(ease, ials)
    made.fitted = fitted
    return made


def distance(one: float, other: float) -> float:
    return math.log2(max(one, 1 / 64) / other) ** 2


@pytest.mark.parametrize(("ease", "ials"), [(8.0, 0.25), (1 / 32, 64.0), (2**-0.5, 2**0.5)])
def test_the_best_weights_on_the_grid_are_found(ease, ials):
    parts = mixture("ease", "ials")

    def value() -> float:
        return -distance(parts.scales["ease"], ease) - distance(parts.scales["ials"], ials)

    assert parts.fit_scales(value) == {"ease": ease, "ials": ials} == parts.scales


def test_recall_decides_with_ndcg_and_another_metric_alone():
    flat = {"ndcg@10": 0.0401, "recall@10": 0.080, "recall@20": 0.5}
    good = {"ndcg@10": 0.0400, "recall@10": 0.084, "recall@20": 0.1}
    assert balance_with_recall(flat, "ndcg@10") == pytest.approx((0.0401 * 0.080) ** 0.5)
    assert balance_with_recall(good, "ndcg@10") > balance_with_recall(flat, "ndcg@10")
    assert balance_with_recall(flat, "recall@20") == 0.5


def test_a_part_that_does_harm_has_no_weight():
    parts = mixture("ease")
    assert parts.fit_scales(lambda: -parts.scales["ease"]) == {"ease": 0.0}
    assert parts.scales == {"ease": 0.0, "ials": 0.3}, "a weight that is given stays"


def test_no_weights_are_tried_twice_and_without_gain_they_stay():
    parts, tried = mixture("ease", "ials"), []

    def value() -> float:
        tried.append(tuple(parts.scales.values()))
        return 0.5

    start = {"ease": 1.0, "ials": min(SCALES, key=lambda one: abs(one - 0.3))}
    assert parts.fit_scales(value) == start
    assert len(tried) == len(set(tried)) == 5 + 5 + 4 + 4  # from there, from 1, from each alone
    assert tried[0] == tuple(start.values()), "of equal ones the first is kept"


def test_a_run_serves_the_weights_that_were_chosen_on_validation(planted_config, tmp_path):
    config = planted_config(model__ials=True, model__ials_dim=4)
    run = train(config, tmp_path / "run", Callbacks())
    assert set(run.manifest.mixture) == {"ease", "ials"}
    assert set(run.manifest.mixture.values()) <= set(SCALES)
    best = run.manifest.best
    epochs = [balance_with_recall(line["valid"], "ndcg@20") for line in run.read_metrics()]
    assert balance_with_recall(best.valid, "ndcg@20") >= max(epochs)
    run, dataset = RunDirectory.open(run.path), Dataset.open(config.data.path)
    again = evaluate_run(run, dataset, "valid", EvaluationConfig(), CPU)
    assert {name: again.metrics[name] for name in best.valid} == pytest.approx(best.valid)
    parts = load_scorer(run, CPU).mixture
    assert parts.scales == run.manifest.mixture


def test_a_weight_that_is_given_stays(planted_config, tmp_path):
    run = train(planted_config(model__ease_scale=0.7), tmp_path / "run", Callbacks())
    assert run.manifest.mixture == {}
    assert load_scorer(run, CPU).mixture.scales == {"ease": 0.7}
    best = max(line["valid"]["ndcg@20"] for line in run.read_metrics())
    assert run.manifest.best.value == best


def test_weights_of_a_part_that_is_not_there_are_refused(planted_config, tmp_path):
    run = train(planted_config(model__ease_scale=1.0), tmp_path / "run", Callbacks())
    run.update(mixture={"ials": 0.5})
    assert json.loads((run.path / MANIFEST).read_text())["mixture"] == {"ials": 0.5}
    with pytest.raises(RunError, match="do not fit the configuration"):
        load_scorer(RunDirectory.open(run.path), CPU)


def test_the_squared_error_learns_the_scale_of_ease_instead(planted_config, tmp_path):
    config = planted_config(training__loss="mse")
    assert train(config, tmp_path / "run", Callbacks()).manifest.mixture == {}


def test_auto_is_the_default_and_other_words_are_refused():
    assert (Config().model.ease_scale, Config().model.ials_scale) == ("auto", "auto")
    with pytest.raises(ConfigError, match=r"model\.ease_scale"):
        load_config(overrides=["model.ease_scale=automatic"])


def test_a_climb_from_one_gets_past_a_bump():
    """From 8 every step is worse; from 1 the better side is found."""
    parts = mixture("ease")
    parts.set_scales({"ease": 8.0})

    def value() -> float:
        scale = parts.scales["ease"]
        return 1.0 if scale == 8.0 else 2.0 - distance(scale, 0.5)

    assert parts.fit_scales(value) == {"ease": 0.5}
    assert parts.scales["ease"] == 0.5


def test_one_part_by_itself_is_tried():
    """Every step from both parts together is worse."""
    parts = mixture("ease", "ials")

    def value() -> float:
        ease, ials = parts.scales["ease"], parts.scales["ials"]
        return 2.0 - distance(ials, 2.0) if ease == 0.0 else 1.0 - distance(ease, 1.0)

    assert parts.fit_scales(value) == {"ease": 0.0, "ials": 2.0}


def test_each_epoch_is_validated_with_weights_that_suit_it(world):
    """The weights of the best epoch are kept with it, and a restored training has them."""
    config = world.config(training__max_epochs=3)
    scales, found = [2.0, 0.5, 4.0], iter([0.1, 0.3, 0.2])

    def validate(model) -> dict[str, float]:
        model.set_scales({"ease": scales[len(trainer.progress.history)]})
        return {"ndcg@20": next(found)}

    trainer = world.trainer(config, validate)
    assert trainer.progress.scales == {"ease": 1.0}
    trainer.run(lambda report: None)
    assert (trainer.progress.best_epoch, trainer.progress.best_scales) == (2, {"ease": 0.5})
    restored = world.trainer(config, validate)
    restored.restore(*trainer.state())
    assert restored.model.scales == restored.progress.scales == {"ease": 4.0}
    assert restored.progress.best_scales == {"ease": 0.5}


class Recorded:
    """Scores 0, notes what is asked, and is fitted to weight 2 after 3."""

    fitted_parts: tuple[str, ...] = ("ease",)
    part_weights = None

    def __init__(self) -> None:
        self.scales = {"ease": 1.0, "ials": 0.5}
        self.asked: list[tuple[float, int]] = []

    def score(self, rows, users=None):
        self.asked.append((self.scales["ease"], rows.shape[0]))
        return torch.zeros(rows.shape)

    def set_scales(self, scales):
        self.scales = self.scales | scales

    def fit_scales(self, evaluate):
        for scale in (3.0, 2.0):
            self.set_scales({"ease": scale})
            evaluate()
        return {"ease": 2.0}


def make_planted_validator(config):
    dataset = Dataset.open(config.data.path)
    return make_validator(config.training, config.evaluation, dataset, dataset.matrix("train"))


def test_the_weights_follow_on_a_sample_where_there_are_too_many_users(planted_config, monkeypatch):
    validator = make_planted_validator(planted_config())
    monkeypatch.setattr(choices, "FOLLOWED_USERS", 50)
    monkeypatch.setattr(part_ranking, "MAX_KEPT_ITEMS", 180 * 60)  # 60 users, lists of 20
    model, validate = Recorded(), MixtureValidator(validator, "ndcg@20", seed=0)
    metrics = validate(model)
    assert model.asked[:2] == [(3.0, 50), (2.0, 50)]
    assert {scale for scale, _ in model.asked[2:-1]} == {2.0}
    assert sum(n for _, n in model.asked[2:-1]) == len(validator.users) > 60
    assert model.asked[-1] == (0.0, 50)
    assert set(metrics) >= {"ndcg@20", "recall@20"}


def test_c_net_is_measured_without_the_other_parts(planted_config):
    validator = make_planted_validator(planted_config())
    model, validate = Recorded(), MixtureValidator(validator, "ndcg@20", seed=0)
    validate(model)
    assert model.asked[-1][0] == 0.0
    assert 0.0 <= validate.alone <= 1.0
    assert model.scales["ease"] == 2.0, "the chosen weight is back"
    model.fitted_parts = ()
    validate(model)
    assert validate.alone is None


def test_the_given_weight_of_another_part_is_back_after_c_net_was_measured(planted_config):
    validator = make_planted_validator(planted_config())
    model = Recorded()
    MixtureValidator(validator, "ndcg@20", seed=0)(model)
    assert model.scales == {"ease": 2.0, "ials": 0.5}


SPARSE = {"model__ease_max_items": 5, "model__ease_neighbors": 4}
WITH_IALS = {"model__ials": True, "model__ials_dim": 4}


@pytest.mark.parametrize("settings", [{}, WITH_IALS, SPARSE, SPARSE | WITH_IALS])
def test_the_parts_are_scored_once_for_all_weights(planted_config, monkeypatch, tmp_path, settings):
    """And the metrics are those of the whole scores with the chosen weights."""
    run = train(planted_config(**settings), tmp_path / "run", Callbacks())
    model = load_scorer(run, CPU)
    model.mixture.fitted = tuple(model.mixture.scales)
    validator = make_planted_validator(planted_config(**settings))
    if "model__ease_max_items" in settings:  # as in a large catalog, by blocks of items
        monkeypatch.setattr(mixture_module, "LARGE_CATALOG", 5)
        monkeypatch.setattr(model_module, "BLOCK_SIZE", 16)
        assert model.factored_scores(validator.rows[:1]) is not None
    passes = []
    score_parts = type(model).score_parts

    def counted(self, rows):
        passes.append(rows.shape[0])
        return score_parts(self, rows)

    monkeypatch.setattr(type(model), "score_parts", counted)
    validate = MixtureValidator(validator, "ndcg@20", seed=0)
    metrics = validate(model)
    assert sum(passes) == len(validator.users)
    assert metrics == pytest.approx(validator(model), rel=1e-9)
    chosen = model.scales
    model.set_scales(dict.fromkeys(chosen, 0.0))
    assert validate.alone == pytest.approx(balance_with_recall(validator(model), "ndcg@20"))


def test_the_patience_waits_for_what_still_gets_better_by_itself(world):
    """The mixture is best at once; it is trained as long as C-Net alone rises, and then on."""
    config = world.config(training__max_epochs=20, training__patience=2)
    alone = iter([0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.1, 0.1])

    def train_with(value_alone) -> int:
        value = iter([0.9, *[0.5] * 19])
        trainer = Trainer(
            world.model(config),
            world.train,
            config.training,
            lambda model: {"ndcg@20": next(value)},
            value_alone=value_alone,
        )
        trainer.run(lambda report: None)
        assert trainer.progress.best_epoch == 1
        return trainer.progress.epoch

    assert train_with(lambda: None) == 3
    assert train_with(lambda: next(alone)) == 5
