"""Scores of some items are the columns of all scores, for every model that has a shorter way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_zoo import CLOSED_FORM, fit
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation import ranking
from ld4mrec_cli.evaluation.ranking import ItemScorer, rank
from ld4mrec_cli.models.ld4mrec import mixture

ITEMS = np.array([0, 3, 4, 11, 36])
LD4MREC = {
    "mixture": {"model__ials": True},
    "trend": {"model__ials": True},
    "C-Net alone": {"model__ease": False},
    "squared error": {"training__loss": "mse", "model__ease": True},
    "reverse chain": {"diffusion__inference_steps": 3, "diffusion__noise_scale": 5.0},
}


def with_an_empty_row(train):
    return csr_matrix(np.vstack([train[:9].toarray(), np.zeros((1, train.shape[1]))])).astype("f4")


@pytest.mark.parametrize("name", LD4MREC)
def test_ld4mrec(world, name):
    model = world.model(world.config(**LD4MREC[name])).eval()
    if name == "trend":
        model.set_trend(np.linspace(-1.0, 1.0, world.train.shape[1], dtype=np.float32))
    rows = with_an_empty_row(world.train)
    torch.testing.assert_close(
        model.score_items(rows, ITEMS), model.score(rows)[:, ITEMS], atol=1e-6, rtol=1e-5
    )
    empty = rows[-1:]
    torch.testing.assert_close(
        model.score_items(empty, ITEMS), model.score(empty)[:, ITEMS], atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("ease", [False, True])
@pytest.mark.parametrize("ials", [False, True])
@pytest.mark.parametrize("share", [0.0, 1.0], ids=["all scored", "some scored"])
def test_a_large_catalog_with_a_filter(world, monkeypatch, ease, ials, share):
    """Blocks of the mixture are those of the allowed items, or of all with the others denied."""
    monkeypatch.setattr(mixture, "LARGE_CATALOG", 10)
    monkeypatch.setattr(ranking, "ITEMS_CHUNK_SIZE", 2)
    monkeypatch.setattr(ranking, "MAX_GATHERED_SHARE", share)
    settings = {"model__ease": ease, "model__ials": ials, "model__ease_max_items": 10}
    model = world.model(world.config(**settings, model__ease_content_weight=3.0)).eval()
    rows = with_an_empty_row(world.train)
    assert model.factored_scores(rows) is not None
    items, values = rank(model, rows, None, 3, allowed=ITEMS)
    expected = model.score(rows)[:, ITEMS].sort(dim=1, descending=True)
    torch.testing.assert_close(
        torch.from_numpy(values), expected.values[:, :3], atol=1e-6, rtol=1e-5
    )
    np.testing.assert_array_equal(items, ITEMS[expected.indices[:, :3].numpy()])


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_closed_form(world, name):
    model = fit(name, world.train, world.config(), world.features)
    rows = with_an_empty_row(world.train)
    if isinstance(model, ItemScorer):
        for some in (rows, rows[-1:], rows[:0]):
            torch.testing.assert_close(model.score_items(some, ITEMS), model.score(some)[:, ITEMS])
    items, values = rank(model, rows, rows, 3, allowed=ITEMS)
    everything = np.where(rows.toarray() > 0, -np.inf, model.score(rows).numpy())[:, ITEMS]
    np.testing.assert_allclose(values, -np.sort(-everything, axis=1)[:, :3], atol=1e-5, rtol=1e-5)
    assert set(items.ravel()) <= {*ITEMS, -1}
