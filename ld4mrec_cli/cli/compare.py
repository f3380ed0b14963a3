"""`ld4mrec compare`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ld4mrec_cli.cli.evaluate import parse_cutoffs
from ld4mrec_cli.cli.evaluation import UnknownChoice
from ld4mrec_cli.cli.options import (
    Device,
    Format,
    Overrides,
    Threads,
    format_option,
    parse_integers,
    read_config,
)
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.utils.errors import StudyFailed, UserError

if TYPE_CHECKING:
    from ld4mrec_cli.experiments.compare.results import Comparison


def compare(
    config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LABEL=]FILE", help="A system's configuration; repeat it.", show_default=False
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A model with its defaults, as a system; repeat it.",
            show_default=False,
        ),
    ] = None,
    lists: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=FILE",
            help="Lists of another tool, as a system; repeat it, with one label for several seeds. "
            "{fold} in the name is the number of the fold.",
            show_default=False,
        ),
    ] = None,
    on_unknown: Annotated[
        UnknownChoice,
        typer.Option(help="Users and items of --lists that the dataset does not know."),
    ] = UnknownChoice.ERROR,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Dataset directory for all (data.path), or one of folds; several are folds.",
            show_default="the configs'",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the trainings, comma-separated.")] = "0,1,2",
    set_: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Directory to write, or to go on with.", show_default="runs/compare-DATASET-TIME"
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="Split to evaluate.")] = Split.TEST,
    k: Annotated[
        str | None, typer.Option(help="Cutoffs, comma-separated.", show_default="the configs'")
    ] = None,
    metric: Annotated[str, typer.Option(help="Metric that ranks the systems.")] = "ndcg@20",
    device: Device = None,
    threads: Threads = None,
    format: Annotated[
        Format, format_option(Format.TABLE, Format.JSON, Format.MARKDOWN)
    ] = Format.TABLE,
) -> None:
    """Train several models and test which one is better.

    Example: ld4mrec compare --data data/baby --config examples/baby.yaml --model ease --seeds 0,1,2

    Example: ld4mrec compare --data data/baby --model ease --lists theirs=lists.csv

    Example: ld4mrec compare --data data/baby-folds --model ease --lists theirs=lists-{fold}.csv
    """
    numbers = parse_seeds(seeds)
    flags: dict[str, Any] = {
        "training.device": device,
        "evaluation.k": parse_cutoffs(k) if k is not None else None,
    }

    from ld4mrec_cli.cli.console import log
    from ld4mrec_cli.data.folds import open_datasets
    from ld4mrec_cli.experiments.compare.comparison import compare as run_comparison
    from ld4mrec_cli.experiments.compare.given import parse_given
    from ld4mrec_cli.experiments.compare.plan import plan_comparison
    from ld4mrec_cli.experiments.compare.systems import read_systems, shared_dataset
    from ld4mrec_cli.runs.paths import new_run_path
    from ld4mrec_cli.utils.device import resolve_device
    from ld4mrec_cli.utils.text import printable

    given, overrides = parse_given(lists or ()), set_ or ()
    datasets = open_datasets(data or ())
    if datasets:
        flags["data.path"] = str(datasets[0].directory)
    systems = read_systems(config or (), model or (), overrides, flags, max(2 - len(given), 0))
    chosen = resolve_device(device or "auto")
    datasets = datasets or [shared_dataset(systems)]
    place = out or new_run_path(f"compare-{datasets[0].name}")
    plan = plan_comparison(
        systems,
        datasets,
        numbers,
        split.value,
        metric,
        chosen,
        place,
        given,
        read_config(None, overrides, flags).evaluation,
        on_unknown.policy,
    )
    found = run_comparison(plan, lambda line: log(printable(line)))
    print_comparison(found, format, place)
    if len(found.working) < 2:
        worked = f"{len(found.working) or 'none'} of {len(found.systems)} systems worked"
        raise StudyFailed(
            f"nothing to compare: {worked}", where=place, hint="The reasons are above"
        )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse ``0,1,2``, in that order. Raises UserError."""
    seeds = tuple(parse_integers("--seeds", text, "0,1,2"))
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise UserError(f"--seeds {seed} is not between 0 and {2**32 - 1}")
        if seeds.count(seed) > 1:
            raise UserError(f"--seeds names {seed} twice")
    return seeds


def print_comparison(found: Comparison, format: Format, place: Path) -> None:
    """Print the comparison, and where it was written: after a table, else beside it on stderr."""
    from ld4mrec_cli.cli.console import log, print_table, stdout
    from ld4mrec_cli.experiments.compare import report
    from ld4mrec_cli.utils.text import printable

    written = f"comparison written to {place}"
    if format is Format.TABLE:
        table = report.main_table(found)
        print_table(replace(table, title=printable(report.title(found))))
        lines = [
            *(report.verdict(found, metric) for metric in found.tested),
            *report.failures(found),
            *report.seed_note(found),
            written,
        ]
        for line in lines:
            stdout().print(printable(line), markup=False)
        return
    typer.echo(
        report.markdown(found) if format is Format.MARKDOWN else found.model_dump_json(),
        nl=format is Format.JSON,
    )
    for line in (*report.failures(found), written):
        log(printable(line))
