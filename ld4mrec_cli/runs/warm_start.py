"""Start a training from the weights of a run: ids are matched, signals aligned, misfits refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.config import Config, iter_differences
from ld4mrec_cli.data.dataset import UNKNOWN, Dataset
from ld4mrec_cli.models.base import TrainableRecommender
from ld4mrec_cli.models.ld4mrec.build import initial_bias
from ld4mrec_cli.models.ld4mrec.guidance import COLLABORATIVE
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.models.registry import build_baseline, is_pairwise
from ld4mrec_cli.models.transfer import (
    ITEMS,
    USERS,
    Alignment,
    OlderModel,
    SharedIds,
    align_signals,
    signal,
    transfer_parameters,
)
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.runs.checks import check_numbers
from ld4mrec_cli.runs.id_map import IdMap
from ld4mrec_cli.runs.learned import map_run
from ld4mrec_cli.runs.manifest import InitSource
from ld4mrec_cli.runs.run_directory import PARAMETERS, WEIGHTS, RunDirectory
from ld4mrec_cli.utils.errors import RunError

SKETCH_BYTES = 2**23
"""Item features of a modality that a run keeps for :func:`align_signals`, at most."""
WEIGHT, SIGNAL, SIGNAL_ITEMS = "weights.", "signals.", "items."
"""Starts of names in ``parameters.safetensors``."""


def save_parameters(run: RunDirectory, model: TrainableRecommender) -> None:
    """Save the weights of a model that serves what it makes from them, and some item features."""
    if not is_pairwise(run.manifest.model):
        return
    tensors: dict[str, Tensor] = {
        f"{WEIGHT}{name}": value for name, value in model.named_parameters()
    }
    for name, values in model.signals().items():
        n_kept = max(1, min(len(values), SKETCH_BYTES // (4 * values.shape[1])))
        at = torch.linspace(0, len(values) - 1, n_kept).long().to(values.device)
        tensors |= {f"{SIGNAL}{name}": values[at], f"{SIGNAL_ITEMS}{name}": at}
    run.save_tensors(PARAMETERS, tensors)


def check_init(
    run: RunDirectory, config: Config, dataset: Dataset, modalities: Sequence[str]
) -> InitSource:
    """Check that a training can start from ``run``, before anything is written.

    Args:
        run: the run to start from.
        config: of the new training.
        dataset: of the new training.
        modalities: the item features that the new training reads.

    Raises:
        RunError: it cannot; the message says what differs.
    """
    manifest, name = run.manifest, config.model_name
    if config.spec.closed_form:
        hint = "Leave out --init"
        raise RunError(f"{name} is solved at once, so it starts from no run", hint=hint)
    if manifest.status != "complete":
        hint = f"Finish it with `ld4mrec train --resume --run {run.path}`"
        raise RunError(f"this run is {manifest.status}", where=run.path, hint=hint)
    if manifest.model != name:
        hint = f"Start from a run of {name}, or give --model {manifest.model}"
        raise RunError(f"is a run of {manifest.model}, not of {name}", where=run.path, hint=hint)
    if _weights_file(run) not in manifest.files:
        what = "is a run of an earlier version, which kept no weights to start from"
        raise RunError(what, where=run.path, hint="Train it again")
    both = manifest.dataset.modalities, list(modalities)
    if config.spec.reads_features and both[0] != both[1]:
        before, now = (", ".join(names) or "none" for names in both)
        hint = "Choose the same ones with --set data.modalities=[…]"
        what = f"was trained with the modalities {before}, and this training has {now}"
        raise RunError(what, where=run.path, hint=hint)
    _check_settings(run, config, modalities)
    return _match(run, dataset)


def _check_settings(run: RunDirectory, config: Config, modalities: Sequence[str]) -> None:
    """Raise RunError if settings give the weights other shapes."""
    old, new = (_parameters_of(one, modalities) for one in (run.config, config))
    if old == new:
        return
    ignored = ("data", "prepare", "evaluation")
    dumps = run.manifest.config, config.model_dump(mode="json")
    changed = [
        f"{key} is {before!r} there and {after!r} here"
        for key, before, after in iter_differences(*dumps, ignored)
        if not key.startswith("training.") or key == "training.loss"
    ]
    what = f"its weights do not fit this training: {', '.join(changed) or 'another version'}"
    hint = f"Train with its settings, --config {run.path / 'config.yaml'}"
    raise RunError(what, where=run.path, hint=hint)


def _parameters_of(config: Config, modalities: Sequence[str]) -> dict[str, object]:
    """Shape and axis of each parameter as the settings alone decide them: on a tiny dataset."""
    train = csr_matrix(np.eye(4, dtype=np.float32))
    column = np.arange(4.0, dtype=np.float32)[:, None]
    features = dict.fromkeys(modalities, column)
    model: TrainableRecommender
    if config.model_name == "ld4mrec":
        ease = np.zeros((4, 4), dtype=np.float32) if config.model.ease else None
        signals = ItemSignals({COLLABORATIVE: column, **features}, np.ones(4), ease)
        model = LD4MRec(config.model, config.diffusion, config.training, signals)
    else:
        model = build_baseline(config.model_name, train, config.model_settings, features, 0)
    axes = model.data_axes()
    return {name: (p.shape, axes.get(name)) for name, p in model.named_parameters()}


def _match(run: RunDirectory, dataset: Dataset) -> InitSource:
    """The manifest's entry. Raises RunError if the catalogs share nothing."""
    found = _map_trained(run, dataset)
    n_users, n_items = (int((index != UNKNOWN).sum()) for index in (found.users, found.items))
    if not n_users or not n_items:
        kind = "item" if n_users else "user"
        what = f"shares no {kind} with {dataset.directory}"
        raise RunError(what, where=run.path, hint="Start from a run on older data of this catalog")
    return InitSource(
        run=str(run.path.resolve()),
        started=run.manifest.started,
        weights_hash=run.manifest.files[_weights_file(run)],
        dataset_hash=run.manifest.dataset.hash,
        users=n_users,
        items=n_items,
    )


def _map_trained(run: RunDirectory, dataset: Dataset) -> IdMap:
    """Where the users and items that a run has weights of are in a dataset."""
    found = map_run(Catalog(run, "train"), dataset)
    n_trained = run.manifest.dataset.n_items  # those of `add-items` come last, without weights
    return replace(found, items=found.items[:n_trained])


def _weights_file(run: RunDirectory) -> str:
    return PARAMETERS if is_pairwise(run.manifest.model) else WEIGHTS


def open_init(source: InitSource) -> RunDirectory:
    """Open the run that a training started from. Raises RunError if it is gone or another one."""
    path = Path(source.run)
    try:
        run = RunDirectory.open(path)
    except RunError:
        hint = "Put it back, or start anew"
        raise RunError("the run that this one starts from is gone", where=path, hint=hint) from None
    if run.manifest.files.get(_weights_file(run)) != source.weights_hash:
        hint = "Start anew"
        raise RunError("is no longer the run that this one starts from", where=path, hint=hint)
    return run


def start_from(
    run: RunDirectory,
    model: TrainableRecommender,
    dataset: Dataset,
    on_note: Callable[[str], None],
) -> None:
    """Give a new model, on the CPU, the weights of ``run``.

    Args:
        run: passed :func:`check_init` for this dataset.
        model: has its initial weights.
        dataset: that of the model.
        on_note: gets a line for each signal whose weights start anew.

    Raises:
        RunError: files are missing or damaged.
    """
    found = _map_trained(run, dataset)
    n_users, n_items = dataset.shape
    items = _shared(found.items, n_items)
    weights, signals, starts = _read(run)
    links = {USERS: _shared(found.users, n_users), ITEMS: items}
    alignments = {
        name: _align(values, *signals[name], items) for name, values in model.signals().items()
    }
    for name, one in alignments.items():
        if not one.is_related:
            on_note(f"the signal '{name}' is not that of {run.path}: its weights start anew")
    every = links | {signal(name): one for name, one in alignments.items()}
    try:
        transfer_parameters(model, model.data_axes(), OlderModel(weights, every, starts))
    except (KeyError, ValueError, RuntimeError) as error:
        what = f"the weights do not fit ({error})"
        raise RunError(what, where=run.path, hint="Start anew, without --init") from None


def _shared(index: np.ndarray, n_new: int) -> SharedIds:
    """``index``: place of each old id in the new dataset, or UNKNOWN ``(n_old,)``."""
    old = np.flatnonzero(index != UNKNOWN)
    return SharedIds(torch.from_numpy(index[old]), torch.from_numpy(old), n_new, len(index))


def _align(values: Tensor, kept: Tensor, old: Tensor, items: SharedIds) -> Alignment:
    """Align the new ``values`` ``(n_items, r_new)`` with the ``old`` ones of the items ``kept``."""
    new_of_old = torch.full((items.n_old,), UNKNOWN)
    new_of_old[items.old] = items.new
    at = new_of_old[kept]
    is_shared = at != UNKNOWN
    is_sample = len(kept) < items.n_old
    return align_signals(values[at[is_shared]], old[is_shared], is_sample=is_sample)


def _read(
    run: RunDirectory,
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]], Mapping[str, Tensor]]:
    """Weights; items and values of each signal; where weights started. Raises RunError."""
    file = _weights_file(run)
    tensors = run.load_tensors(file)
    check_numbers(tensors, run.path / file)
    if file == PARAMETERS:
        weights = _select(tensors, WEIGHT)
        kept = _select(tensors, SIGNAL_ITEMS)
        return weights, {n: (kept[n], v) for n, v in _select(tensors, SIGNAL).items()}, {}
    if run.manifest.model != "ld4mrec":
        return tensors, {}, {}
    signals, config = run.load_signals(), run.config
    every = torch.arange(len(signals.degree))
    bases = {name: (every, torch.from_numpy(basis)) for name, basis in signals.bases.items()}
    start = initial_bias(config.model, config.training.loss, signals.degree)
    return tensors, bases, {} if start is None else {"cnet.decoder_bias": start}


def _select(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}
