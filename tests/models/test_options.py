"""Every setting acts: changing it alone changes the training or the scores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pytest
import torch
from model_zoo import CLOSED_FORM, TRAINED_BASELINES

from ld4mrec_cli.config import Config, iter_sections

NOISY = {"diffusion.noise_scale": 20.0}
ALL = {"training.target": "all"}

CHANGES: list[tuple[str, Any, Mapping[str, Any]]] = [
    # field, changed value, settings of both sides besides the small ones
    ("model.hidden_dim", 12, {}),
    ("model.bd_blocks", 0, {}),
    ("model.bd_blocks", 2, {}),
    ("model.bg_blocks", 0, {}),
    ("model.expansion", 1.0, {}),
    ("model.time_dim", 4, {}),
    ("model.dropout", 0.0, {}),
    ("model.guidance", [], {}),
    ("model.guidance", ["collaborative"], {}),
    ("model.guidance", ["image"], {}),
    ("model.guidance", ["text"], {}),
    ("model.guidance_source", "clean", {}),
    ("model.collaborative_rank", 3, {}),
    ("model.modality_dim", 3, {}),
    ("model.item_side", False, {}),
    ("model.ease", False, {}),
    ("model.ease", False, {"training.loss": "mse"}),
    ("model.ease_scale", 3.0, {}),
    ("model.ease_scale", 3.0, {"training.loss": "mse"}),
    ("model.ease_ridge", 1000.0, {}),
    ("model.ease_degree_ridge", 4.0, {}),
    ("model.ease_user_exponent", 0.0, {}),
    ("model.ease_content_weight", 5.0, {}),
    ("model.ease_content_weight", {"image": 5.0}, {"model.ease_content_weight": {"text": 5.0}}),
    ("model.ease_nonnegative", True, {}),
    ("model.ease_nonnegative", True, {"model.ease_max_items": 10}),
    ("model.ease_max_items", 10, {"model.ease_neighbors": 2}),
    ("model.ease_neighbors", 2, {"model.ease_max_items": 10}),
    ("model.ials", True, {}),
    ("model.ials", True, {"model.ease": False}),
    ("model.ials_scale", 3.0, {"model.ials": True}),
    ("model.ials_dim", 5, {"model.ials": True}),
    ("model.ials_unobserved_weight", 0.1, {"model.ials": True}),
    ("model.ials_ridge", 0.1, {"model.ials": True}),
    ("model.ials_frequency_exponent", 0.9, {"model.ials": True}),
    ("model.popularity_bias", False, {}),
    ("diffusion.steps", 2, NOISY),
    ("diffusion.noise_scale", 20.0, {}),
    ("diffusion.noise_min", 0.015, NOISY),
    ("diffusion.noise_max", 0.04, NOISY),
    ("diffusion.mask_rate", 0.2, {}),
    ("diffusion.mask_rate", 0.0, ALL),
    ("diffusion.soft_reconstruction", False, {}),
    ("diffusion.soft_probability", 0.9, {}),
    ("diffusion.smoothing_intensity", 0.2, {}),
    ("diffusion.soft_labels", "drawn", {"diffusion.smoothing_intensity": 0.1}),
    (
        "diffusion.importance_sampling",
        False,
        {**NOISY, "diffusion.steps": 1, "training.max_epochs": 8},
    ),
    ("diffusion.inference_steps", 3, NOISY),
    ("diffusion.inference_steps", 3, {**NOISY, "training.loss": "mse"}),
    ("diffusion.inference_start", 3, NOISY),
    ("diffusion.inference_start", 5, {**NOISY, "diffusion.inference_steps": 3}),
    ("diffusion.inference_start", 0, {**NOISY, "diffusion.inference_steps": 3}),
    ("training.seed", 1, {}),
    ("training.loss", "mse", {}),
    ("training.loss", "mse", ALL),
    ("training.target", "all", {}),
    ("training.batch_size", 8, {}),
    ("training.row_weight_exponent", 0.0, {}),
    ("training.row_weight_exponent", 1.0, {"training.sampled_items": 10}),
    ("training.sampled_items", 10, {}),
    ("training.sampled_items", 10, {**NOISY, "diffusion.steps": 1}),
    ("training.learning_rate", 0.001, {}),
    ("training.weight_decay", 10.0, {}),
    ("training.embedding_weight_decay", 10.0, {}),
    ("training.grad_clip", 1e-6, {}),
    ("training.precision", "bf16", {}),
    ("training.max_epochs", 1, {}),
    # The average is validated: it acts on the validation metrics, not on the weights in training.
    ("training.ema_decay", 0.0, {}),
]


def fields_of(section: str) -> list[str]:
    """Settings of a section; none where there is no such section."""
    model = dict(iter_sections()).get(section)
    return list(model.model_fields) if model else []


SESSION, TRAINER = "tests/training/test_session.py", "tests/training/test_trainer.py"
CHOICES = "tests/training/test_choices.py"
TESTED_ELSEWHERE = {
    "model.trend_half_life": f"{CHOICES}::test_the_trend_is_found_and_a_refit_measures_it_anew",
    "training.device": f"{SESSION}::test_an_unknown_device_is_refused",
    "training.patience": f"{TRAINER}::test_early_stopping_honors_patience",
    "training.validate_every": f"{TRAINER}::test_validate_every_spaces_the_validations",
    "training.validation_users": f"{SESSION}::test_validation_ranks_for_the_users_it_is_told_to",
    "training.metric": f"{TRAINER}::test_the_metric_selects_the_epoch",
    "evaluation.k": f"{SESSION}::test_evaluation_reports_the_cutoffs_it_is_given",
    "evaluation.mask": f"{SESSION}::test_mask_with_validation_items_removes_them_from_the_lists",
    "evaluation.batch_size": f"{SESSION}::test_evaluation_batch_size_bounds_the_batches",
    **dict.fromkeys(
        (f"{name}.{field}" for name in CLOSED_FORM for field in fields_of(name)),
        "tests/models/test_closed_form.py::test_every_setting_of_a_fitted_baseline_acts",
    ),
    **dict.fromkeys(
        (f"{name}.{field}" for name in TRAINED_BASELINES for field in fields_of(name)),
        "tests/models/test_trained.py::test_every_setting_of_a_trained_baseline_acts",
    ),
}


def test_every_setting_has_a_test_that_sees_it_act():
    fields = {f"{name}.{field}" for name, _ in iter_sections() for field in fields_of(name)}
    driven = {field for field, *_ in CHANGES} | set(TESTED_ELSEWHERE)
    assert driven == {field for field in fields if field.split(".")[0] not in ("prepare", "data")}


def test_the_tests_elsewhere_exist(request):
    for place in TESTED_ELSEWHERE.values():
        path, name = place.split("::")
        assert f"def {name}(" in (request.config.rootpath / path).read_text(encoding="utf-8"), place


@pytest.fixture(scope="module")
def outcome(world):
    """Trains a config: losses, validation metrics and scores."""

    @lru_cache
    def of(config_json: str) -> tuple[list[float], list[float], torch.Tensor]:
        model, history = world.trained(Config.model_validate_json(config_json))
        valid = [value for report in history for value in report.valid.values()]
        return [report.loss for report in history], valid, model.score(world.train)

    return lambda settings: of(world.config_of(settings).model_dump_json())


@pytest.mark.slow
@pytest.mark.parametrize(("field", "value", "both"), CHANGES, ids=lambda part: str(part)[:40])
def test_a_setting_acts(outcome, field, value, both):
    losses, valid, scores = outcome({**both, field: value})
    base_losses, base_valid, base_scores = outcome(both)
    assert losses
    assert torch.tensor(losses).isfinite().all()
    assert scores.isfinite().all()
    if field == "training.ema_decay":
        assert valid != base_valid
        assert torch.equal(scores, base_scores)
    else:
        assert (scores - base_scores).abs().max() > 1e-5
    if field.startswith("diffusion.inference_"):
        assert losses == base_losses


def test_the_same_settings_give_the_same_outcome(world):
    """Without this, "the outcome differs" would say nothing."""
    config = world.config()
    (first, first_history), (second, second_history) = world.trained(config), world.trained(config)
    assert torch.equal(first.score(world.train), second.score(world.train))
    assert [report.loss for report in first_history] == [report.loss for report in second_history]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model.bg_blocks", 0),
        ("model.bd_blocks", 0),
        ("model.item_side", False),
        ("model.ease", False),
    ],
)
def test_a_part_that_is_switched_off_has_no_weights(world, field, value):
    prefix = {
        "model.bg_blocks": "cnet.bg_blocks.",
        "model.bd_blocks": "cnet.bd_blocks.",
        "model.item_side": "cnet.item_side_",
        "model.ease": "cnet.ease_scale",
    }[field]
    mse = {"training.loss": "mse"}  # with it the item weights have a learned scale
    on = [
        name
        for name, _ in world.model(world.config_of(mse)).named_parameters()
        if name.startswith(prefix)
    ]
    off = [
        name for name, _ in world.model(world.config_of({**mse, field: value})).named_parameters()
    ]
    assert on
    assert not [name for name in off if name.startswith(prefix)]


def test_the_paper_preset_trains_and_scores(world):
    config = world.config(preset="paper")
    assert (config.training.loss, config.model.guidance_source, config.model.item_side) == (
        "mse",
        "clean",
        False,
    )
    model, history = world.trained(config)
    assert all(torch.isfinite(torch.tensor(report.loss)) for report in history)
    assert torch.isfinite(model.score(world.train)).all()
