"""Exponential moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Keeps ``average ← decay · average + (1 - decay) · weights``.

    The average is validated, saved and served.

    Early on the decay is lower, ``(1 + n) / (10 + n)`` after n updates, so that the random start is
    forgotten. A decay of 0 follows the weights themselves.

    A step changes some rows of a sparse parameter. The average of the other rows moves towards
    constant weights, which can be computed later at once: the average of a row is updated before
    the row changes, and all averages are updated before they are read.
    """

    def __init__(self, model: nn.Module, decay: float, sparse: Sequence[Tensor] = ()) -> None:
        """``sparse``: parameters ``(n_rows, width)`` of which a step changes only some rows."""
        self.decay = decay
        self.updates = 0
        self._parameters = dict(model.named_parameters())
        self._tensors = {name: p.detach().clone() for name, p in self._parameters.items()}
        names: dict[Tensor, str] = {p: name for name, p in self._parameters.items()}
        self._sparse = {parameter: names[parameter] for parameter in sparse}
        """Names of the sparse parameters."""
        self._dense = [name for name in self._parameters if name not in self._sparse.values()]
        self._log_decay = 0.0
        """Log of the product of all decays so far."""
        self._log_decay_of_row = {
            name: torch.zeros(len(parameter), dtype=torch.float64, device=parameter.device)
            for parameter, name in self._sparse.items()
        }
        """Value of ``_log_decay`` at the last update of each row."""

    @torch.no_grad()
    def before_change(self, parameter: Tensor, rows: Tensor, present: Tensor) -> None:
        """Update the average of rows that are about to change.

        ``rows`` ``(m,)`` int64 of a sparse parameter have the values ``present`` ``(m, width)``.
        """
        if self.decay:
            name = self._sparse[parameter]
            average, weight = self._tensors[name], self._catch_up(name, rows)
            average.index_copy_(
                0, rows, average.index_select(0, rows).lerp_(present, weight.to(average.dtype))
            )

    @torch.no_grad()
    def update(self) -> None:
        """Add the present weights of the model to the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.decay else 0.0
        self._log_decay += math.log(decay) if decay else 0.0
        averages, present = (
            [tensors[name] for name in self._dense] for tensors in (self._tensors, self._parameters)
        )
        torch._foreach_lerp_(averages, present, 1.0 - decay)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The average by parameter name, up to date."""
        with torch.no_grad():
            for parameter, name in self._sparse.items():
                average = self._tensors[name]
                average.lerp_(
                    parameter,
                    self._catch_up(name, slice(None)).to(average.dtype) if self.decay else 1.0,
                )
            self._reset_decay()
        return self._tensors

    def _catch_up(self, name: str, rows: Tensor | slice) -> Tensor:
        """Weight ``(m, 1)`` of the present parameter in the average of ``rows``.

        The rows count as up to date from now on.
        """
        since = self._log_decay_of_row[name]
        weight = -torch.expm1(self._log_decay - since[rows])
        since[rows] = self._log_decay
        return weight.unsqueeze(1)

    def restore(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Continue from :attr:`tensors` after ``updates`` updates."""
        self._tensors, self.updates = tensors, updates
        self._reset_decay()

    def _reset_decay(self) -> None:
        """Forget decays that all rows have; a resumed training then equals one that went on."""
        self._log_decay = 0.0
        for since in self._log_decay_of_row.values():
            since.zero_()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the average as the weights of the model during the block; nothing is copied."""
        averages = self.tensors
        self._exchange(averages)
        try:
            yield
        finally:
            self._exchange(averages)

    def _exchange(self, averages: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, averages[name] = averages[name], parameter.data
