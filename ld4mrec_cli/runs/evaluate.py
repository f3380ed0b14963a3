"""Evaluate a finished run on its dataset, or on newer data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.row_values import PLAIN, RowValues
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.evaluate import OnLists, evaluate
from ld4mrec_cli.evaluation.results import Evaluation
from ld4mrec_cli.evaluation.validation import leave_out_learned
from ld4mrec_cli.runs.evaluations import write_evaluation
from ld4mrec_cli.runs.learned import inherited_interactions
from ld4mrec_cli.runs.measures import NO_EXTRAS, ExtraMeasures, Extras
from ld4mrec_cli.runs.newer_data import OnUnknown, Question, newer_question
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
        hint = "Prepare it again with the same options, or train again; --data names newer data"
        raise DatasetError(
            f"is not the dataset that {run.path} was trained on", where=dataset.directory, hint=hint
        )


def applied_mask(run: RunDirectory, split: str, options: EvaluationConfig) -> str:
    """What an evaluation excludes: ``train``, ``train+valid``, or ``all`` that a refit knows."""
    if run.manifest.refit_of is not None:
        return "all"
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
    on_unknown: OnUnknown | None = None,
    config: Config | None = None,
    extras: Extras = NO_EXTRAS,
) -> Evaluation:
    """Evaluate a run on the validation or test split of its dataset, or of newer data.

    Newer data are of the same catalog, with ids matched by their raw form. A refit has seen all
    splits of its dataset, so it is evaluated on newer data alone. The metrics are noted in the run.

    Args:
        run: a run with weights.
        dataset: the dataset that it was trained on, or a newer one.
        split: ``valid`` or ``test``.
        options: cutoffs, mask and batch size.
        device: where the model scores.
        on_batch, group: as for :func:`ld4mrec_cli.evaluation.evaluate.evaluate`.
        on_lists: likewise; users are those of ``dataset``, items those of the run.
        on_note: gets a line on interactions that are left out.
        on_unknown: allows newer data, and says what becomes of users and items of the split that
            the run does not know: ``error``, or ``skip``. None: the dataset is the run's own; of a
            refit, ``error``.
        config: settings at inference in place of the run's; the metrics are then not noted in it.
        extras: what is measured beside accuracy.

    Raises:
        DatasetError: ``dataset`` is another one, or lacks targets or what ``extras`` need.
        RunError: the run is damaged, has no weights, or is a refit on this dataset.
        UnknownIdError: the run does not know users or items of newer data.
    """
    question = _ask(run, dataset, split, options, on_note, on_unknown)
    more = ExtraMeasures(extras, dataset, question.rows, question.items)
    found = evaluate(
        load_scorer(run, device, config),
        question.rows,
        question.targets,
        question.exclude,
        options.k,
        options.batch_size,
        on_batch,
        group=group,
        on_lists=on_lists,
        trained_as=question.users,
        measures=more.measures,
    )
    result = more.finish(found)
    if group.is_main_process and config is None:
        is_newer = question.users is not None and run.manifest.refit_of is None
        measured = _describe(run, dataset, split, options, result)
        _note_in_run(run, f"newer {split}" if is_newer else split, result, measured, on_note)
    return result


def _describe(
    run: RunDirectory, dataset: Dataset, split: str, options: EvaluationConfig, result: Evaluation
) -> dict[str, Any]:
    """What is noted beside the metrics."""
    return {
        "mask": applied_mask(run, split, options),
        "n_users": len(result.users),
        "dataset_hash": dataset.hash,
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _ask(
    run: RunDirectory,
    dataset: Dataset,
    split: str,
    options: EvaluationConfig,
    on_note: Callable[[str], None],
    on_unknown: OnUnknown | None,
) -> Question:
    """What to rank for whom. Raises UserError, see :func:`evaluate_run`."""
    is_refit, is_own = run.manifest.refit_of is not None, dataset.hash == run.manifest.dataset.hash
    if is_refit:
        _check_newer(run, dataset)
    elif on_unknown is None:
        check_same_dataset(run, dataset)
    mask = applied_mask(run, split, options)
    if is_own:
        return _own_question(run, dataset, split, mask, on_note)
    return newer_question(run, dataset, split, mask, on_unknown or "error", on_note)


def _note_in_run(
    run: RunDirectory,
    split: str,
    result: Evaluation,
    measured: Mapping[str, object],
    on_note: Callable[[str], None],
) -> None:
    """Write the metrics into the run, which may be read-only."""
    try:
        write_evaluation(run.path, split, result, measured)
    except OutputError as error:
        on_note(f"the metrics are not noted in the run: {error}")


def _check_newer(run: RunDirectory, dataset: Dataset) -> None:
    source = run.manifest.refit_of
    if source is not None and dataset.hash == run.manifest.dataset.hash:
        hint = f"Evaluate the run that it came from, {source.run}, or give newer data with --data"
        raise RunError("is a refit: it has seen the test split", where=run.path, hint=hint)


def _own_question(
    run: RunDirectory, dataset: Dataset, split: str, mask: str, on_note: Callable[[str], None]
) -> Question:
    """A split of the run's own dataset. Raises DatasetError."""
    asked = split_question(dataset, split, mask, run.manifest.dataset.row_values)
    rows, targets, exclude = asked.rows, asked.targets, asked.exclude
    for matrix in (rows, targets, exclude):
        matrix.resize(matrix.shape[0], run.n_items)  # new items of the run come last
    inherited = inherited_interactions(run)
    if inherited.nnz:
        targets = leave_out_learned(targets, inherited, split, dataset, on_note)
        exclude = csr_matrix(exclude.maximum(inherited))
    return Question(rows, targets, exclude)


def split_question(dataset: Dataset, split: str, mask: str, values: RowValues = PLAIN) -> Question:
    """A split of a dataset, under the protocol.

    Args:
        dataset: the dataset.
        split: what to find, ``valid`` or ``test``.
        mask: ``train`` or ``train+valid``.
        values: what the entries of the rows are; by default 1. A target is found or not.

    Raises:
        DatasetError: the split is empty.
    """
    rows = dataset.matrix(Split.TRAIN, values=values)
    targets = dataset.matrix(split)
    if not targets.nnz:
        raise DatasetError(f"the {split} split is empty", where=dataset.directory)
    exclude = rows if mask == Split.TRAIN else dataset.matrix(Split.TRAIN, Split.VALID)
    return Question(rows, targets, exclude)
