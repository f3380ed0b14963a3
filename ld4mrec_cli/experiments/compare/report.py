"""A comparison as tables and sentences, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ld4mrec_cli.evaluation.significance import ALPHA
from ld4mrec_cli.experiments.compare.plan import Plan
from ld4mrec_cli.experiments.compare.plots import plot_comparison
from ld4mrec_cli.experiments.compare.results import (
    RESULT,
    Comparison,
    ContenderResult,
    PairResult,
    Spread,
)
from ld4mrec_cli.utils.files import write_json, write_text
from ld4mrec_cli.utils.tables import Table
from ld4mrec_cli.utils.text import printable_lines

MARKDOWN, PICTURE = "comparison.md", "comparison.png"
NONE = "–"
"""Where there is no figure, such as the spread of a model without a seed."""


def write_report(found: Comparison, plan: Plan) -> None:
    """Write picture, Markdown and JSON into the directory of the comparison, each at once, the JSON last."""
    if found.working:
        plot_comparison(found, plan.out / PICTURE)
    write_text(plan.out / MARKDOWN, markdown(found))
    write_json(plan.out / RESULT, found.model_dump(mode="json"))


def title(found: Comparison) -> str:
    """What was compared on what, in one line."""
    users = f", {found.n_users:,} users" if found.n_users else ""
    return f"{found.dataset.name}, {found.split} split{users}, masked: {found.mask}"


def main_table(found: Comparison) -> Table:
    """A row per system, in the order given: accuracy, how far from the best other, and what it cost."""
    shown = list(found.tested)
    columns = [
        "model",
        "seeds",
        *shown,
        f"{found.metric} to best other [95 %]",
        "p (Holm)",
        "train s",
        "users/s",
        "MB",
    ]
    return Table(columns, [_row(found, system) for system in found.systems])


def _row(found: Comparison, system: ContenderResult) -> list[str]:
    done, wanted = len(system.done), len(system.runs)
    seeds = NONE if not system.uses_seed else str(done) if done == wanted else f"{done} of {wanted}"
    if not system.worked:
        return [system.label, seeds, "failed", *[NONE] * (len(found.tested) + 4)]
    pair = found.against_best_other(found.metric, system.label)
    return [
        system.label,
        seeds,
        *(_spread(system.metrics[metric]) for metric in found.tested),
        interval(pair) if pair else NONE,
        p_value(pair.p_holm) if pair else NONE,
        _figure(system.training_seconds),
        _figure(system.users_per_second),
        _figure(system.peak_memory_mb),
    ]


def pair_table(found: Comparison, metric: str) -> Table:
    """The leader of a metric against every other system."""
    columns = [metric, "difference [95 %]", "p", "p (Holm)", "users better", "worse", "equal"]
    leader, *others = found.ranked(metric)
    pairs = [found.against(metric, leader.label, other.label) for other in others]
    return Table(columns, [_pair_row(pair) for pair in pairs])


def _pair_row(pair: PairResult) -> list[str]:
    users = (f"{count:,}" for count in (pair.a_better, pair.b_better, pair.equal))
    return [f"{pair.a} − {pair.b}", interval(pair), p_value(pair.p), p_value(pair.p_holm), *users]


def verdict(found: Comparison, metric: str) -> str:
    """Who leads in a metric, and over whom that is clear, in one sentence."""
    ranked = found.ranked(metric)
    if len(ranked) < 2:
        return f"{metric}: nothing to compare, {len(ranked) or 'no'} system worked"
    leader, *others = ranked
    level = [
        other.label
        for other in others
        if not found.against(metric, leader.label, other.label).significant
    ]
    if not level:
        return f"{metric}: {leader.label} is better than every other system"
    beaten = [other.label for other in others if other.label not in level]
    rest = f"; better than {_and(beaten)}" if beaten else ""
    return f"{metric}: {leader.label} leads, but not clearly over {_and(level)}{rest}"


def failures(found: Comparison) -> list[str]:
    """A line for each run that failed, with its reason."""
    return [
        f"{system.label} failed{f' with seed {run.seed}' if system.uses_seed else ''}: {run.error}"
        for system in found.systems
        for run in system.runs
        if run.error is not None
    ]


def markdown(found: Comparison) -> str:
    """The comparison as Markdown, ready for a paper or a README."""
    seeds = ", ".join(map(str, found.seeds))
    parts = [
        f"# Comparison on {found.dataset.name}",
        f"Dataset {title(found)}; all {found.dataset.n_items:,} items ranked; mean ± standard deviation over "
        f"seeds {seeds}.",
        main_table(found).markdown(),
        "\n".join(
            f"- {line}" for line in [*(verdict(found, m) for m in found.tested), *failures(found)]
        ),
    ]
    if len(found.working) > 1:
        parts += [pair_table(found, metric).markdown() for metric in found.tested]
        parts.append(_method(found))
    if found.working:
        parts.append(f"![Accuracy and training time]({PICTURE})")
    return printable_lines("\n\n".join(parts) + "\n")


def _method(found: Comparison) -> str:
    n_pairs = len(found.pairs[found.metric])
    return (
        f"Differences are paired over users, whose values are averaged over seeds first: bootstrap percentile interval "
        f"of the mean ({found.resamples:,} resamples of the users), p of the Wilcoxon signed-rank test, after Holm's "
        f"correction over {n_pairs} {'pair' if n_pairs == 1 else 'pairs'}. Better: p below {ALPHA}, an interval "
        "without zero, and mean and ranks of one sign. Training seconds and users per second are means over seeds, "
        "memory is the highest peak of a training."
    )


def interval(pair: PairResult) -> str:
    """A difference and its interval."""
    return f"{pair.difference:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]"


def p_value(p: float) -> str:
    """Three decimals, below that only that it is below."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.4f} ± {NONE if spread.std is None else f'{spread.std:.4f}'}"


def _figure(value: float | None) -> str:
    """A time, speed or size: a decimal where it is below ten."""
    if value is None:
        return NONE
    return "<0.1" if value < 0.05 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"
