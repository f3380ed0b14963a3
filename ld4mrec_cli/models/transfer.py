"""Start a model from the weights of an older one: rows by id, columns of features by alignment.

A parameter may have one axis whose length the data decides. :class:`DataAxis` says what lies along
it: users, items, columns of a signal (item features as the model reads them), or plain entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

USERS, ITEMS = "users", "items"
MIN_SHARE = 0.5
"""Share of the old features that an alignment explains, below which they count as unrelated."""
SAME_SHARE = 0.99
"""Share that the new features explain as they are, above which they count as the same."""


def signal(name: str) -> str:
    """Segment of the columns of the signal ``name``."""
    return f"signal.{name}"


@dataclass(frozen=True)
class DataAxis:
    """The axis of a parameter whose length the data decides."""

    axis: int
    segments: tuple[str | int, ...]
    """What lies along it, in order: USERS, ITEMS, a :func:`signal`, or a number of plain entries.
    """


ROWS_OF_USERS, ROWS_OF_ITEMS = DataAxis(0, (USERS,)), DataAxis(0, (ITEMS,))


class Link(Protocol):
    """How entries along a segment of the old model become those of the new one."""

    @property
    def n_old(self) -> int:
        """Entries of the old model."""

    @property
    def n_new(self) -> int:
        """Entries of the new model."""

    def copy(self, new: Tensor, old: Tensor) -> None:
        """Change ``new`` ``(n_new, …)`` by ``old`` ``(n_old, …)``."""


@dataclass(frozen=True)
class SharedIds:
    """Users or items that two datasets share; new ones keep their initial weights."""

    new: Tensor
    """Their indices in the new dataset ``(m,)`` int64."""
    old: Tensor
    """Their indices in the old one ``(m,)`` int64."""
    n_new: int
    n_old: int

    def copy(self, new: Tensor, old: Tensor) -> None:
        """See :class:`Link`."""
        new[self.new] = old[self.old]


@dataclass(frozen=True)
class Alignment:
    """The columns of a signal in two datasets: ``old ≈ new @ map`` for the items of both."""

    map: Tensor
    """``(r_new, r_old)``."""
    share: float
    """Share of the squared values of the old signal that it explains."""

    @property
    def n_new(self) -> int:
        """Columns of the new signal."""
        return self.map.shape[0]

    @property
    def n_old(self) -> int:
        """Columns of the old signal."""
        return self.map.shape[1]

    @property
    def is_related(self) -> bool:
        """Whether weights on the old columns mean something on the new ones."""
        return self.share >= MIN_SHARE

    def copy(self, new: Tensor, old: Tensor) -> None:
        """See :class:`Link`. A product with the old features stays what it was, nearly."""
        if self.is_related:
            new.copy_(torch.tensordot(self.map, old, dims=1))


@dataclass(frozen=True)
class _Plain:
    n_new: int

    @property
    def n_old(self) -> int:
        return self.n_new

    def copy(self, new: Tensor, old: Tensor) -> None:
        new.copy_(old)


def align_signals(new: Tensor, old: Tensor, *, is_sample: bool = False) -> Alignment:
    """Map the columns of a signal to those that it had in an older dataset.

    Text features are fitted anew on each dataset, and singular vectors have another sign, order and
    rotation: the spaces are nearly the same, the columns are not. The best orthogonal map is that
    of Schönemann (1966), so that what the old weights made of an item, they make of it again.

    Args:
        new: values of the shared items ``(m, r_new)``.
        old: values of the same items in the older dataset ``(m, r_old)``.
        is_sample: there are other shared items. A map of too few items would not hold for them, and
            is not sought.
    """
    target, values = old.double(), new.double()
    total = float(target.square().sum()) or 1.0
    if new.shape == old.shape:
        share = 1.0 - float((target - values).square().sum()) / total
        if share >= SAME_SHARE:
            return Alignment(torch.eye(new.shape[1], dtype=new.dtype), share)
    if is_sample and len(new) < 2 * max(new.shape[1], old.shape[1]):
        return Alignment(torch.zeros(new.shape[1], old.shape[1]), 0.0)
    left, lengths, right = torch.linalg.svd(values.T @ target, full_matrices=False)
    is_found = lengths > 1e-9 * lengths.max()  # directions in which both have values
    found = left[:, is_found] @ right[is_found]
    share = 1.0 - float((target - values @ found).square().sum()) / total
    return Alignment(found.to(new.dtype), share)


@dataclass(frozen=True)
class OlderModel:
    """What a new model starts from."""

    parameters: Mapping[str, Tensor]
    """Trained weights by name."""
    links: Mapping[str, Link]
    """By segment."""
    starts: Mapping[str, Tensor] = field(default_factory=dict)
    """Of parameters that start from the data: what they started at in the old model. What they have
    learned since is added to where they start in the new one."""


@torch.no_grad()
def transfer_parameters(model: nn.Module, axes: Mapping[str, DataAxis], older: OlderModel) -> None:
    """Copy the weights of an older model into a new one that has its initial weights.

    Entries of new users, new items and unrelated signals stay as they are.

    Args:
        model: the new model, on the CPU.
        axes: see :meth:`ld4mrec_cli.models.base.TrainableRecommender.data_axes`.
        older: the older model.

    Raises:
        KeyError: a parameter is missing.
        ValueError: a parameter has another shape.
    """
    for name, parameter in model.named_parameters():
        axis = axes.get(name, DataAxis(0, (len(parameter),) if parameter.ndim else ()))
        old = older.parameters[name]
        if name in older.starts:
            learned = torch.zeros_like(parameter)
            _copy(name, learned, old - older.starts[name], axis, older.links)
            parameter.add_(learned)
        else:
            _copy(name, parameter, old, axis, older.links)


def _copy(
    name: str, parameter: Tensor, old: Tensor, axis: DataAxis, links: Mapping[str, Link]
) -> None:
    """Copy segment by segment. Raises ValueError."""
    parts = [_Plain(part) if isinstance(part, int) else links[part] for part in axis.segments]
    if not parts and not parameter.ndim and not old.ndim:
        parameter.copy_(old)
        return
    expected = list(parameter.shape)
    expected[axis.axis] = sum(part.n_old for part in parts)
    if list(old.shape) != expected:
        raise ValueError(f"'{name}' is {tuple(old.shape)} where {tuple(expected)} is needed")
    new_rows = parameter.movedim(axis.axis, 0).split([part.n_new for part in parts])
    old_rows = old.movedim(axis.axis, 0).split([part.n_old for part in parts])
    for part, new_part, old_part in zip(parts, new_rows, old_rows, strict=True):
        part.copy(new_part, old_part)
