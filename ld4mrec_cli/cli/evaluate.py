"""`ld4mrec evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ld4mrec_cli.cli.options import Data, Device, Run
from ld4mrec_cli.config import EvaluationConfig
from ld4mrec_cli.errors import UserError


class Split(StrEnum):
    """Splits that can be evaluated."""

    TEST = "test"
    VALID = "valid"


class Format(StrEnum):
    """How the metrics are printed."""

    TABLE = "table"
    JSON = "json"


class MaskChoice(StrEnum):
    """Items left out of the ranking."""

    TRAIN = "train"
    TRAIN_VALID = "train+valid"


def evaluate(
    run: Run = None,
    split: Annotated[Split, typer.Option(help="Split to evaluate.")] = Split.TEST,
    k: Annotated[str | None, typer.Option(help="Cutoffs, comma-separated.", show_default="5,10,20,50")] = None,
    format: Annotated[Format, typer.Option(help="Output format.")] = Format.TABLE,
    mask: Annotated[
        MaskChoice | None, typer.Option(help="Items left out of the ranking.", show_default="the run's, train")
    ] = None,
    data: Data = None,
    device: Device = None,
) -> None:
    """Evaluate a trained run by full ranking over the catalogue.

    Example: ld4mrec evaluate --split test --k 10,20 --format json
    """
    cutoffs = parse_cutoffs(k) if k is not None else None
    if split is Split.VALID and mask is MaskChoice.TRAIN_VALID:
        hint = "Leave out --mask: on the valid split, training items are masked"
        raise UserError("--mask train+valid would leave out the very items that --split valid looks for", hint=hint)

    from ld4mrec_cli import workflow
    from ld4mrec_cli.cli.console import progress_counter
    from ld4mrec_cli.data.dataset import PreparedDataset
    from ld4mrec_cli.model.device import resolve_device
    from ld4mrec_cli.parallel import joined
    from ld4mrec_cli.training.checkpoint import RunDirectory
    from ld4mrec_cli.training.places import latest_run

    with joined() as group:
        opened = RunDirectory.open(run or Path(group.tell(str(latest_run()))))
        options = _options(opened.config.evaluation, split, cutoffs, mask)
        dataset = PreparedDataset.open(data or Path(opened.manifest.dataset.path))
        chosen = group.place(resolve_device(device or "auto"))
        own_users = group.sizes(dataset.schema.splits[split.value].users)[group.rank]
        with progress_counter("evaluating", own_users, group.is_writer) as on_batch:
            result = workflow.evaluate_run(opened, dataset, split.value, options, chosen, on_batch, group)
        if not group.is_writer:
            return
    if format is Format.JSON:
        _print_json(result.metrics, len(result.users), split.value, options, opened.path)
    else:
        print_metrics(
            result.metrics,
            options.k,
            f"{opened.manifest.name} ({opened.manifest.model}), {split.value} split, "
            f"{len(result.users):,} users, masked: {options.mask}",
        )


def _options(
    options: EvaluationConfig, split: Split, cutoffs: tuple[int, ...] | None, mask: MaskChoice | None
) -> EvaluationConfig:
    """The run's options with those given by flag, and the mask that acts: the valid split masks training items."""
    given = MaskChoice.TRAIN if split is Split.VALID else mask
    changes = {"k": cutoffs, "mask": given.value if given else None}
    return options.model_copy(update={name: value for name, value in changes.items() if value is not None})


def parse_cutoffs(text: str) -> tuple[int, ...]:
    """Parse ``5,10,20`` into ascending cutoffs. Raises UserError."""
    try:
        cutoffs = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UserError(f"--k '{text}' is not a list of whole numbers", hint="Give it as 5,10,20") from None
    if cutoffs[0] < 1:
        raise UserError(f"--k {cutoffs[0]} is below 1")
    return tuple(cutoffs)


def print_metrics(metrics: Mapping[str, float], cutoffs: Sequence[int], title: str) -> None:
    """Print metrics as a table, a row per metric and a column per cutoff."""
    from ld4mrec_cli.cli.console import print_table

    names = list(dict.fromkeys(name.split("@")[0] for name in metrics))
    rows = [[name, *(f"{metrics[f'{name}@{k}']:.4f}" for k in cutoffs)] for name in names]
    print_table(["metric", *(f"@{k}" for k in cutoffs)], rows, title=title)


def _print_json(metrics: Mapping[str, float], n_users: int, split: str, options: EvaluationConfig, run: Path) -> None:
    result = {"split": split, "n_users": n_users, "metrics": metrics, "mask": options.mask, "run": str(run)}
    typer.echo(json.dumps(result))
