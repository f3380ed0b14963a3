from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ld4mrec_cli.training.ema import EMA
from ld4mrec_cli.training.optim import LazyAdamW


def sparse_gradient(matrix: torch.Tensor, rows: list[int], seed: int) -> None:
    """Leave a gradient on ``rows`` of ``matrix``."""
    coefficients = torch.randn(
        len(rows), matrix.shape[1], generator=torch.Generator().manual_seed(seed)
    )
    (F.embedding(torch.tensor(rows), matrix, sparse=True) * coefficients).sum().backward()


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lazy_adamw_is_adamw_where_every_row_is_reached(decay):
    start = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    lazy, dense = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    first = LazyAdamW([lazy], lr=0.1, weight_decay=decay)
    second = torch.optim.AdamW([dense], lr=0.1, weight_decay=decay)
    for step in range(5):
        sparse_gradient(lazy, [4, 2, 0, 1, 5, 3], step)
        assert lazy.grad is not None
        dense.grad = lazy.grad.to_dense()
        first.step()
        second.step()
        first.zero_grad()
    torch.testing.assert_close(lazy, dense)


def test_lazy_adamw_leaves_the_other_rows_alone():
    matrix = nn.Parameter(torch.ones(5, 2))
    optimizer = LazyAdamW([matrix], lr=0.1, weight_decay=0.5)
    sparse_gradient(matrix, [3, 1], 0)
    optimizer.step()
    assert torch.equal(matrix[[0, 2, 4]], torch.ones(3, 2))
    assert (matrix[[1, 3]] != 1).all()
    assert (optimizer.state[matrix]["exp_avg"][[0, 2, 4]] == 0).all()


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95])
def test_the_lazy_average_is_the_average(decay):
    """Rows change at some steps only; the lazy average equals the average over all rows."""
    model = nn.ParameterDict(
        {"matrix": nn.Parameter(torch.zeros(6, 2)), "bias": nn.Parameter(torch.zeros(2))}
    )
    lazy, plain = EMA(model, decay, [model["matrix"]]), EMA(model, decay)
    source = torch.Generator().manual_seed(0)
    for step in range(40):
        rows = torch.randperm(5, generator=source)[:2]  # row 5 never
        lazy.before_change(model["matrix"], rows, model["matrix"].detach()[rows])
        with torch.no_grad():
            model["matrix"][rows] += torch.randn(2, 2, generator=source)
            model["bias"] += 1.0
        lazy.update()
        plain.update()
        if step in (0, 17, 39):
            for name, expected in plain.tensors.items():
                torch.testing.assert_close(lazy.tensors[name], expected)


def test_the_average_is_in_the_model_for_a_while_alone():
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(3))})
    average = EMA(model, 0.9)
    with torch.no_grad():
        model["w"] += 1.0
    average.update()
    expected = average.tensors["w"].clone()
    with average.applied():
        assert torch.equal(model["w"].detach(), expected)
    assert torch.equal(model["w"].detach(), torch.ones(3))
    assert torch.equal(average.tensors["w"], expected)
