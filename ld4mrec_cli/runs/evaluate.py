"""Evaluate a finished run on its dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.metrics import Evaluation, evaluate
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import DatasetError


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


def evaluate_run(
    run: RunDirectory,
    dataset: Dataset,
    split: str,
    options: EvaluationConfig,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
    group: Group = SINGLE_PROCESS,
) -> Evaluation:
    """Evaluate a run on the validation or test split of its dataset.

    Args:
        run: a run with weights.
        dataset: the dataset that it was trained on.
        split: ``valid`` or ``test``.
        options: cutoffs, mask and batch size.
        device: where the model scores.
        on_batch: called after each batch with its number of users.
        group: processes that share the users.

    Raises:
        DatasetError: ``dataset`` is another one.
        RunError: the run is damaged or has no weights.
    """
    check_same_dataset(run, dataset)
    scorer = load_scorer(run, device)
    train_rows, targets = dataset.matrix(Split.TRAIN), dataset.matrix(split)
    exclude = train_rows
    if options.mask == "train+valid" and split != Split.VALID:
        exclude = (train_rows + dataset.matrix(Split.VALID)).tocsr()
    return evaluate(
        scorer, train_rows, targets, exclude, options.k, options.batch_size, on_batch, group=group
    )
