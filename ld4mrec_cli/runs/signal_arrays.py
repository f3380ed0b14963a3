"""Item signals as named arrays, the form in which a run keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ld4mrec_cli.models.ld4mrec.guidance import COLLABORATIVE
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.runs.checks import check_numbers
from ld4mrec_cli.utils.errors import RunError

BASIS, DEGREE, EASE, IALS = "basis.", "degree", "ease_weights", "ials_items"


def signals_to_arrays(signals: ItemSignals) -> dict[str, np.ndarray]:
    """Name the arrays of item signals; those that the signals lack are left out."""
    arrays = {f"{BASIS}{name}": basis for name, basis in signals.bases.items()}
    arrays[DEGREE] = signals.degree
    if signals.ease_weights is not None:
        arrays[EASE] = signals.ease_weights
    if signals.ials_items is not None:
        arrays[IALS] = signals.ials_items
    return arrays


def signals_from_tensors(
    tensors: Mapping[str, Tensor], modalities: Sequence[str], n_items: int, path: Path
) -> ItemSignals:
    """Put item signals together again.

    Args:
        tensors: content of the file; the first dimension of each tensor is ``n_items``.
        modalities: names of the run's modalities, in order.
        n_items: number of items of the run.
        path: the file, for messages.

    Raises:
        RunError: a signal is missing, of another size, or not finite.
    """
    bases = {
        name.removeprefix(BASIS): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith(BASIS)
    }
    order = [COLLABORATIVE, *modalities]
    sizes_fit = all(len(tensor) == n_items for tensor in tensors.values() if tensor.ndim)
    if sorted(order) != sorted(bases) or DEGREE not in tensors or not sizes_fit:
        raise RunError("does not hold the signals of this run", where=path)
    check_numbers(tensors, path)
    ease_weights, ials_items = (
        tensors[name].numpy() if name in tensors else None for name in (EASE, IALS)
    )
    ordered = {name: bases[name] for name in order}
    return ItemSignals(ordered, tensors[DEGREE].numpy(), ease_weights, ials_items)
