"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Keeps ``average ← decay · average + (1 - decay) · weights``; it is what is validated, saved and served.

    Early on the decay is lower, ``(1 + n) / (10 + n)`` after n updates, so that the random start is
    forgotten. A decay of 0 follows the weights themselves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._model = model
        self.tensors = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.decay else 0.0
        named = list(self._model.named_parameters())
        averages = [self.tensors[name] for name, _ in named]
        torch._foreach_lerp_(averages, [p.detach() for _, p in named], 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model for the time of the block."""
        held = {name: p.detach().clone() for name, p in self._model.named_parameters()}
        load_parameters(self._model, self.tensors)
        try:
            yield
        finally:
            load_parameters(self._model, held)


@torch.no_grad()
def load_parameters(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy ``tensors`` by name into the model's parameters.

    Raises:
        KeyError: a parameter is missing.
        ValueError: a parameter has another shape.
    """
    for name, parameter in model.named_parameters():
        if parameter.shape != tensors[name].shape:
            raise ValueError(f"'{name}' is {tuple(tensors[name].shape)} where {tuple(parameter.shape)} is needed")
        parameter.copy_(tensors[name])
