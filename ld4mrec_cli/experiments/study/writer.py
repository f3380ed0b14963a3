"""Write the report of a study: pictures, Markdown, page, and the JSON last."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ld4mrec_cli import __version__
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import StudyPlan
from ld4mrec_cli.experiments.study.report import WIDTH, Picture, Report
from ld4mrec_cli.plotting import new_figure, save_png, to_svg
from ld4mrec_cli.utils.files import write_json, write_text
from ld4mrec_cli.utils.pages import render_template, to_sentence
from ld4mrec_cli.utils.text import printable_lines

FORMAT = "ld4mrec-study"
VERSION = 1
RESULT, MARKDOWN, PAGE = "study.json", "study.md", "study.html"


def write_report(outcome: Outcome, report: Report, created: str) -> None:
    """Write all files of the report into the directory of the study."""
    out = outcome.plan.out
    pictures = [
        (picture, _draw(picture, out / picture_name(number)))
        for number, picture in enumerate(report.pictures, start=1)
    ]
    values = {
        "plan": outcome.plan,
        "report": report,
        "pictures": pictures,
        "setting": describe_setting(outcome),
        "failures": outcome.failures,
        "method": describe_method(outcome, report),
        "commands": list_commands(outcome.plan),
        "footer": describe_origin(outcome.plan, created),
    }
    write_text(out / MARKDOWN, render_markdown(outcome, report, created))
    page = render_template(Path(__file__).parent, "study.html.jinja", **values)
    write_text(out / PAGE, printable_lines(page))
    write_json(out / RESULT, as_json(outcome, report, created))


def picture_name(number: int) -> str:
    """File of a picture, counted from 1."""
    return f"study-{number}.png"


def _draw(picture: Picture, path: Path) -> str:
    """Write a picture as PNG and return it as SVG."""
    with new_figure(WIDTH, picture.height) as figure:
        picture.draw(figure)
        save_png(figure, path)
        return to_svg(figure)


def describe_setting(outcome: Outcome) -> str:
    """Data and protocol in one line."""
    plan, n_users = outcome.plan, outcome.n_users
    users = f", {n_users:,} users" if n_users else ""
    seeds = f"{'seed' if len(plan.seeds) == 1 else 'seeds'} {', '.join(map(str, plan.seeds))}"
    return (
        f"Data {plan.dataset.name}, {plan.split} split{users}, all {plan.dataset.shape[1]:,} items "
        f"ranked, masked: {plan.options.mask}; {seeds}."
    )


def describe_method(outcome: Outcome, report: Report) -> list[str]:
    """Paragraphs on what was done."""
    n_runs = sum(len(outcome.plan.planned_runs(variant)) for variant in outcome.plan.variants)
    trained = (
        f"{n_runs} trainings, each in a process of its own; the epoch is chosen on validation, and "
        f"the {outcome.plan.split} split was opened after the last training."
    )
    return [*report.method, trained]


def list_commands(plan: StudyPlan) -> list[str]:
    """The study itself, and one of its trainings by hand."""
    commands = [plan.command]
    if plan.variants:
        variant = plan.variants[0]
        planned = plan.planned_runs(variant)[0]
        data = plan.dataset.directory
        if variant.derivation is not None:
            data = plan.out / "data" / f"{variant.derivation.name}-seed{planned.seed}"
        config = plan.config_file(variant)
        words = ["ld4mrec", "train", "--config", str(config), "--data", str(data)]
        commands.append(shlex.join([*words, "--seed", str(planned.seed)]))
        run = str(planned.path)
        commands.append(shlex.join(["ld4mrec", "evaluate", "--run", run, "--split", plan.split]))
    return commands


def describe_origin(plan: StudyPlan, created: str) -> str:
    """Version, date and data."""
    return f"ld4mrec {__version__}, begun {created}; dataset SHA-256 {plan.dataset.hash}"


def render_markdown(outcome: Outcome, report: Report, created: str) -> str:
    """The report as Markdown."""
    parts = [
        f"# {report.title}",
        f"{report.question} {describe_setting(outcome)}",
        f"**{to_sentence(report.answer)}**",
        "\n".join(f"- {_escape(to_sentence(line))}" for line in report.findings),
        *(
            f"![{picture.alt}]({picture_name(number)})\n\n{picture.caption}"
            for number, picture in enumerate(report.pictures, start=1)
        ),
    ]
    for part in report.tables:
        parts += [f"## {part.heading}", part.table.markdown(), part.note]
    if outcome.failures:
        parts += ["## Failed trainings", "\n".join(f"- {line}" for line in outcome.failures)]
    parts += ["## How it was done", *map(_escape, describe_method(outcome, report))]
    parts += ["\n".join(("```", *list_commands(outcome.plan), "```"))]
    parts += [describe_origin(outcome.plan, created)]
    return printable_lines("\n\n".join(part for part in parts if part) + "\n")


def _escape(line: str) -> str:
    return line.replace("*", "\\*")


def as_json(outcome: Outcome, report: Report, created: str) -> dict[str, Any]:
    """Content of ``study.json`` (docs/study.md)."""
    plan = outcome.plan
    n_users, n_items = plan.dataset.shape
    return {
        "format": FORMAT,
        "version": VERSION,
        "status": "complete",
        "study": plan.study,
        "ld4mrec": __version__,
        "created": created,
        "command": plan.command,
        "dataset": {
            "name": plan.dataset.name,
            "path": str(plan.dataset.directory),
            "hash": plan.dataset.hash,
            "n_users": n_users,
            "n_items": n_items,
        },
        "split": plan.split,
        "mask": plan.options.mask,
        "k": list(plan.options.k),
        "n_users": outcome.n_users,
        "metric": plan.metric,
        "tested": list(plan.tested),
        "seeds": list(plan.seeds),
        "answer": report.answer,
        "findings": list(report.findings),
        "variants": [_variant_json(outcome, variant.label) for variant in plan.variants],
        "failures": outcome.failures,
        **report.data,
    }


def _variant_json(outcome: Outcome, label: str) -> dict[str, Any]:
    variant = next(one for one in outcome.plan.variants if one.label == label)
    evaluations = {
        reading.name or "as trained": [
            {
                "seed": one.seed,
                "metrics": dict(one.metrics),
                "best_epoch": one.best_epoch,
                "training_seconds": one.training_seconds,
                "peak_memory_mb": one.peak_memory_mb,
                "scoring_ms": one.scoring_ms,
            }
            for one in outcome.measured.get((label, reading.name), [])
        ]
        for reading in variant.readings
    }
    return {
        "label": label,
        "title": variant.title,
        "model": variant.system.config.model_name,
        "facts": dict(variant.facts),
        "derivation": variant.derivation.name if variant.derivation else None,
        "evaluations": evaluations,
    }
