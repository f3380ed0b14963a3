"""Item signals as named arrays, the form in which a run keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ld4mrec_cli.models.ld4mrec.guidance import COLLABORATIVE
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.models.ops.item_weights import ItemWeights
from ld4mrec_cli.models.ops.sparse_low_rank import SparseLowRank
from ld4mrec_cli.runs.checks import check_numbers
from ld4mrec_cli.utils.errors import RunError

BASIS, DEGREE, EASE, IALS = "basis.", "degree", "ease_weights", "ials_items"
SPARSE_EASE = f"{EASE}."
"""Start of the names of the arrays of weights that are sparse plus low rank."""


def signals_to_arrays(signals: ItemSignals) -> dict[str, np.ndarray]:
    """Name the arrays of item signals; those that the signals lack are left out."""
    arrays = {f"{BASIS}{name}": basis for name, basis in signals.bases.items()}
    arrays[DEGREE] = signals.degree
    if signals.ease_weights is not None:
        arrays |= _weights_to_arrays(signals.ease_weights)
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
    by_item = [tensors[name] for name in tensors if not name.startswith(SPARSE_EASE)]
    sizes_fit = all(len(tensor) == n_items for tensor in by_item if tensor.ndim)
    if sorted(order) != sorted(bases) or DEGREE not in tensors or not sizes_fit:
        raise RunError("does not hold the signals of this run", where=path)
    check_numbers(tensors, path)
    ials_items = tensors[IALS].numpy() if IALS in tensors else None
    ease_weights = _weights_from_tensors(tensors, n_items, path)
    ordered = {name: bases[name] for name in order}
    return ItemSignals(ordered, tensors[DEGREE].numpy(), ease_weights, ials_items)


def _weights_to_arrays(weights: ItemWeights) -> dict[str, np.ndarray]:
    if isinstance(weights, np.ndarray):
        return {EASE: weights}
    return {f"{SPARSE_EASE}{name}": array for name, array in weights.arrays().items()}


def _weights_from_tensors(
    tensors: Mapping[str, Tensor], n_items: int, path: Path
) -> ItemWeights | None:
    """EASE weights in either form, or None. Raises RunError where they are no matrix."""
    if EASE in tensors:
        return tensors[EASE].numpy()
    arrays = {
        name.removeprefix(SPARSE_EASE): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith(SPARSE_EASE)
    }
    if not arrays:
        return None
    try:
        weights = SparseLowRank.from_arrays(arrays)
    except (KeyError, ValueError, TypeError):
        weights = None
    if weights is None or weights.shape != (n_items, n_items):
        raise RunError("has EASE weights that are no matrix of the items", where=path)
    return weights
