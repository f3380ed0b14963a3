"""The table of models: docs and messages agree with it, and each class keeps its interface."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.base import ClosedFormRecommender, TrainableBaseline, TrainableRecommender
from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.pairwise import FactorModel
from ld4mrec_cli.models.registry import check_trainable, load_class
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils import memory
from ld4mrec_cli.utils.errors import ConfigError, UserError

DOCS = Path(__file__).parents[2] / "docs"
BASELINES = [spec for spec in MODELS.values() if spec.name != "ld4mrec"]


def test_the_page_of_baselines_has_a_row_for_each_with_its_source():
    page = (DOCS / "baselines.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE))
    assert list(rows) == [spec.name for spec in BASELINES]
    for spec in BASELINES:
        source = re.search(r"\((.*)\)", spec.title)
        assert source is None or source[1] in rows[spec.name]
        assert ("requires features" in rows[spec.name]) == spec.needs_features
        assert rows[spec.name].endswith("| yes " if spec.reads_weights else "| no ")


def test_the_page_of_the_model_names_files_that_exist():
    folder = Path(__file__).parents[2] / "ld4mrec_cli" / "models" / "ld4mrec"
    titles = re.findall(r"^##.*\((`.*\.py`)\)", (DOCS / "model.md").read_text(), re.MULTILINE)
    paths = [path for title in titles for path in re.findall(r"`([^`]+\.py)`", title)]
    assert "losses.py" in paths
    assert [path for path in paths if not (folder / path).is_file()] == []


@pytest.mark.parametrize("name", MODELS)
def test_the_class_of_a_model_has_the_interface_of_its_kind(name):
    spec, model = MODELS[name], load_class(name)
    assert issubclass(model, ClosedFormRecommender) == spec.closed_form
    assert issubclass(model, TrainableRecommender) != spec.closed_form
    if name != "ld4mrec":
        assert issubclass(model, TrainableBaseline) != spec.closed_form
    assert not model.__abstractmethods__


@pytest.mark.parametrize("name", MODELS)
def test_a_model_may_refuse_a_catalog_before_training(monkeypatch, name):
    def refuse(n_items: int, settings: object) -> None:
        raise UserError(f"{n_items} items")

    monkeypatch.setattr(load_class(name), "check_catalog", refuse)
    with pytest.raises(UserError, match="30 items"):
        check_trainable(name, 30, ["text"])


def test_only_ease_has_a_limit_by_memory(monkeypatch):
    monkeypatch.setattr(memory, "physical_memory", lambda: 1000)
    for name in MODELS:
        if load_class(name) is not EASE:
            check_trainable(name, 10**6, ["text"])
    with pytest.raises(UserError, match="ease needs about"):
        check_trainable("ease", 10_000, ["text"], EASEConfig())


def test_messages_name_the_models_of_the_table():
    factors = {name: torch.ones(2, 2) for name in ("user_factors", "item_factors")}
    model = FactorModel(factors | {"item_bias": torch.ones(2)})
    with pytest.raises(UserError, match="Use a model that does: ") as error:
        model.score(csr_matrix(np.ones((1, 2), dtype=np.float32)))
    names = re.findall(r"\w+", str(error.value).partition("does: ")[2])
    assert names == [spec.name for spec in MODELS.values() if spec.scores_new_users]
    with pytest.raises(ConfigError, match="Or use one of ") as error:
        check_trainable("vbpr", 10, [])
    names = re.findall(r"\w+", str(error.value).partition("one of ")[2])
    assert names == [spec.name for spec in MODELS.values() if not spec.needs_features]
