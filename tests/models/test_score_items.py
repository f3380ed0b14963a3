"""Scores of some items are the columns of all scores, for every model that has a shorter way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_zoo import CLOSED_FORM, fit
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.ranking import ItemScorer, rank

ITEMS = np.array([0, 3, 4, 11, 36])
LD4MREC = {
    "mixture": {"model__ials": True},
    "C-Net alone": {"model__ease": False},
    "squared error": {"training__loss": "mse", "model__ease": True},
    "reverse chain": {"diffusion__inference_steps": 3, "diffusion__noise_scale": 5.0},
}


def with_an_empty_row(train):
    return csr_matrix(np.vstack([train[:9].toarray(), np.zeros((1, train.shape[1]))])).astype("f4")


@pytest.mark.parametrize("name", LD4MREC)
def test_ld4mrec(world, name):
    model = world.model(world.config(**LD4MREC[name])).eval()
    rows = with_an_empty_row(world.train)
    torch.testing.assert_close(
        model.score_items(rows, ITEMS), model.score(rows)[:, ITEMS], atol=1e-6, rtol=1e-5
    )
    empty = rows[-1:]
    torch.testing.assert_close(
        model.score_items(empty, ITEMS), model.score(empty)[:, ITEMS], atol=1e-6, rtol=1e-5
    )


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
