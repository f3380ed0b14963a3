"""`ld4mrec study`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ld4mrec_cli.cli.compare import parse_seeds
from ld4mrec_cli.cli.evaluate import parse_cutoffs
from ld4mrec_cli.cli.options import Device, Format, Overrides, Threads, format_option
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.utils.errors import StudyFailed, UserError, nearest

if TYPE_CHECKING:
    from ld4mrec_cli.experiments.study.outcome import Outcome
    from ld4mrec_cli.experiments.study.report import Report
    from ld4mrec_cli.experiments.study.studies import Study

NAMES = ("ablation", "cold-start", "generative", "inference", "modalities", "noise")
"""The studies; the table in `experiments/study/studies.py` is slow to import."""


def study(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(NAMES)}.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset directory (data.path).", show_default="the config's"),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LABEL=]FILE",
            help="Configuration of a studied system; repeat it.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Models with their defaults, comma-separated.", show_default="the study's"
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Seeds, comma-separated.", show_default="0,1,2,3,4; quick: 0,1"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few epochs and two seeds.")] = False,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=A,B",
            help="ablation: values of a setting, in place of the switches; repeat it.",
            show_default=False,
        ),
    ] = None,
    cross: Annotated[
        bool, typer.Option("--cross", help="ablation: every combination of --vary.")
    ] = False,
    levels: Annotated[
        str | None,
        typer.Option(
            help="noise: shares of the training interactions.",
            show_default="0.05,0.1,0.2,0.3; quick: 0.1,0.3",
        ),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            help="noise: types of noise, comma-separated.",
            show_default="all; quick: random,similar",
        ),
    ] = None,
    set_: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Directory to write, or to go on with.",
            show_default="runs/study-NAME-DATASET-TIME",
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="Split to evaluate.")] = Split.TEST,
    k: Annotated[
        str | None, typer.Option(help="Cutoffs, comma-separated.", show_default="the config's")
    ] = None,
    metric: Annotated[str, typer.Option(help="Metric that decides.")] = "ndcg@20",
    device: Device = None,
    threads: Threads = None,
    format: Annotated[Format, format_option(Format.TABLE, Format.JSON, Format.MARKDOWN)] = (
        Format.TABLE
    ),
) -> None:
    """Answer a question about a model by a set of trainings.

    Example: ld4mrec study ablation --data data/baby --config examples/baby.yaml
    """
    if name not in NAMES:
        raise UserError(f"unknown study '{name}'", hint=nearest(name, NAMES))
    numbers = None if seeds is None else parse_seeds(seeds)
    flags = {
        "data.path": None if data is None else str(data),
        "training.device": device,
        "evaluation.k": parse_cutoffs(k) if k is not None else None,
    }

    from ld4mrec_cli.cli.console import log
    from ld4mrec_cli.experiments.compare.systems import read_systems, shared_dataset
    from ld4mrec_cli.experiments.study.execute import carry_out
    from ld4mrec_cli.experiments.study.prepare import plan_study
    from ld4mrec_cli.experiments.study.request import Request
    from ld4mrec_cli.experiments.study.studies import STUDIES
    from ld4mrec_cli.runs.paths import new_run_path
    from ld4mrec_cli.utils.device import resolve_device
    from ld4mrec_cli.utils.text import printable

    chosen = STUDIES[name]
    _check_options(chosen, {"vary": vary, "cross": cross, "levels": levels, "types": types})
    if cross and not vary:
        raise UserError("--cross combines settings", hint="Name them with --vary section.key=a,b")
    named = [one.strip() for one in models.split(",")] if models else []
    if not named and not config:
        named = list(chosen.models)
    systems = read_systems(config or (), named, set_ or (), flags, minimum=1)
    dataset = shared_dataset(systems)
    request = Request(
        systems,
        dataset,
        tuple(vary or ()),
        is_crossed=cross,
        levels=parse_shares(levels),
        types=tuple(one.strip() for one in types.split(",")) if types else (),
        is_quick=quick,
    )
    place = out or new_run_path(f"study-{name}-{dataset.name}")
    plan = plan_study(
        chosen,
        request,
        numbers,
        split.value,
        metric,
        resolve_device(device or "auto"),
        place,
        _repeat_command(context, place),
    )
    outcome, report = carry_out(plan, chosen.report, lambda line: log(printable(line)))
    _print(outcome, report, format)
    if not outcome.measured:
        raise StudyFailed("no training worked", where=place, hint="The reasons are above")


def parse_shares(text: str | None) -> tuple[float, ...]:
    """Parse ``0.1,0.3``; empty for None. Raises UserError."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        hint = "Give it as 0.1,0.3"
        raise UserError(f"--levels '{text}' is not a list of numbers", hint=hint) from None


def _check_options(chosen: Study, given: dict[str, Any]) -> None:
    for option, value in given.items():
        if value and option not in chosen.options:
            raise UserError(f"study {chosen.name} has no --{option}")


def _repeat_command(context: typer.Context, place: Path) -> str:
    """The command line that repeats the study in its directory."""
    words = ["ld4mrec", "study", str(context.params["name"])]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if option.name in ("name", "out", "format") or value in (None, option.default):
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [option.opts[0]] if one is True else [option.opts[0], str(one)]
    return shlex.join([*words, "--out", str(place)])


def _print(outcome: Outcome, report: Report, format: Format) -> None:
    """Print the answer and the first table, or one of the files."""
    from ld4mrec_cli.cli.console import log, print_table, stdout
    from ld4mrec_cli.experiments.study.writer import MARKDOWN, PAGE, RESULT
    from ld4mrec_cli.utils.text import printable

    out = outcome.plan.out
    written = f"report written to {out / PAGE}"
    if format is Format.TABLE:
        for part in report.tables[:1]:
            print_table(replace(part.table, title=printable(part.heading)))
        for line in (report.answer, *report.findings, *outcome.failures, written):
            stdout().print(printable(line), markup=False)
        return
    file = MARKDOWN if format is Format.MARKDOWN else RESULT
    typer.echo((out / file).read_text(encoding="utf-8"), nl=False)
    for line in (*outcome.failures, written):
        log(printable(line))
