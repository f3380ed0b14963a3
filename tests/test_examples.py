"""The configurations in `examples/` are ones that the tool takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ld4mrec_cli.config import load_config

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RECIPES = sorted(EXAMPLES.glob("*.yaml"))
BASELINES = sorted(EXAMPLES.glob("baselines/*/*.yaml"))
STUDIES = sorted(EXAMPLES.glob("studies/*.yaml"))


def test_there_are_examples():
    assert {path.stem for path in RECIPES} >= {"tiktok", "baby", "ml-100k"}
    assert BASELINES
    assert STUDIES


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_configuration_of_a_study_is_named_after_its_data(path):
    config = load_config(path)
    assert config.name == path.stem
    assert path.stem.endswith(str(config.data.path).removeprefix("data/"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_ld4mrec_on_the_data_it_is_named_after(path):
    config = load_config(path)
    assert (config.model_name, config.name, str(config.data.path)) == (
        "ld4mrec",
        path.stem,
        f"data/{path.stem}",
    )
    assert config.training.precision != "bf16", "emulated, and very slow, on most machines"


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_baseline_is_the_one_it_is_named_after(path):
    config, data = load_config(path), path.parent.name
    assert path.stem.split("-")[0] == config.model_name
    assert (config.name, str(config.data.path)) == (f"{data}-{path.stem}", f"data/{data}")
