"""Evaluate a finished run on its dataset; a refit, on newer data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.metrics import Evaluation, OnLists, evaluate
from ld4mrec_cli.runs.evaluations import write_evaluation
from ld4mrec_cli.runs.newer_data import ALL_KNOWN, new_interactions
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import DatasetError, OutputError, RunError


def open_run_dataset(run: RunDirectory, path: Path | None = None) -> Dataset:
    """Open the dataset of a run.

    Args:
        run: the run.
        path: where the dataset is now; None where it was in training.

    Raises:
        DatasetError: it is missing or damaged.
    """
    if path is not None:
        return Dataset.open(path)
    hint = "If the dataset was moved, name it with --data DIR"
    return Dataset.open(Path(run.manifest.dataset.path), hint)


def check_same_dataset(run: RunDirectory, dataset: Dataset) -> None:
    """Raise DatasetError unless ``dataset`` is the one that the run was trained on."""
    if dataset.hash != run.manifest.dataset.hash:
        hint = "Prepare it again with the same options, or train again"
        raise DatasetError(
            f"is not the dataset that {run.path} was trained on", where=dataset.directory, hint=hint
        )


def applied_mask(run: RunDirectory, split: str, options: EvaluationConfig) -> str:
    """What an evaluation excludes: ``train``, ``train+valid``, or ``all`` that a refit knows."""
    if run.manifest.refit_of is not None:
        return ALL_KNOWN
    return options.mask if split != Split.VALID else Split.TRAIN


def evaluate_run(
    run: RunDirectory,
    dataset: Dataset,
    split: str,
    options: EvaluationConfig,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
    group: Group = SINGLE_PROCESS,
    on_lists: OnLists | None = None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Evaluate a run on the validation or test split of its dataset.

    A refit has seen all splits, so it is evaluated on newer data: on the interactions of the split
    that it does not know, with all that it knows as histories. The metrics are noted in the run.

    Args:
        run: a run with weights.
        dataset: the dataset that it was trained on; for a refit, another one.
        split: ``valid`` or ``test``.
        options: cutoffs, mask and batch size.
        device: where the model scores.
        on_batch, group, on_lists: as for :func:`ld4mrec_cli.evaluation.metrics.evaluate`.
        on_note: gets a line on interactions that are left out.

    Raises:
        DatasetError: ``dataset`` is another one, or has nothing to find in the split.
        RunError: the run is damaged, has no weights, or is a refit on this dataset.
    """
    if run.manifest.refit_of is not None:
        _check_newer(run, dataset)
        rows, targets = new_interactions(run, dataset, split, on_note)
        exclude = rows
    else:
        check_same_dataset(run, dataset)
        rows, targets, exclude = _split_matrices(dataset, split, applied_mask(run, split, options))
    scorer = load_scorer(run, device)
    k, size = options.k, options.batch_size
    result = evaluate(
        scorer, rows, targets, exclude, k, size, on_batch, group=group, on_lists=on_lists
    )
    if group.is_main_process:
        measured = {
            "mask": applied_mask(run, split, options),
            "n_users": len(result.users),
            "dataset_hash": dataset.hash,
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        _note_in_run(run, split, result, measured, on_note)
    return result


def _note_in_run(
    run: RunDirectory,
    split: str,
    result: Evaluation,
    measured: Mapping[str, object],
    on_note: Callable[[str], None],
) -> None:
    """Write the metrics into the run, which may be read-only."""
    try:
        write_evaluation(run.path, split, result.metrics, measured)
    except OutputError as error:
        on_note(f"the metrics are not noted in the run: {error}")


def _check_newer(run: RunDirectory, dataset: Dataset) -> None:
    source = run.manifest.refit_of
    if source is not None and dataset.hash == run.manifest.dataset.hash:
        hint = f"Evaluate the run that it came from, {source.run}, or give newer data with --data"
        raise RunError("is a refit: it has seen the test split", where=run.path, hint=hint)


def _split_matrices(
    dataset: Dataset, split: str, mask: str
) -> tuple[csr_matrix, csr_matrix, csr_matrix]:
    """Rows, targets and excluded items, each ``(n_users, n_items)``. Raises DatasetError."""
    rows, targets = dataset.matrix(Split.TRAIN), dataset.matrix(split)
    if not targets.nnz:
        raise DatasetError(f"the {split} split is empty", where=dataset.directory)
    exclude = rows if mask == Split.TRAIN else dataset.matrix(Split.TRAIN, Split.VALID)
    return rows, targets, exclude
