"""A comparison as tables and sentences, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ld4mrec_cli.evaluation.mean_difference import POWER
from ld4mrec_cli.evaluation.significance import ALPHA
from ld4mrec_cli.experiments.compare.plan import Plan
from ld4mrec_cli.experiments.compare.plots import plot_comparison
from ld4mrec_cli.experiments.compare.results import (
    RESULT,
    Comparison,
    PairResult,
    RunResult,
    Spread,
    SystemResult,
)
from ld4mrec_cli.utils.files import write_json, write_text
from ld4mrec_cli.utils.tables import Table
from ld4mrec_cli.utils.text import printable_lines

MARKDOWN, PICTURE = "comparison.md", "comparison.png"
ONE_SEED = "*"
"""Marks what holds for these runs alone."""
ONE_SEED_NOTE = (
    "for these runs: with one seed, how much another seed would change is not known; "
    "train more (--seeds)"
)
NONE = "–"
"""Shown without a figure, such as the deviation of a model without a seed."""


def write_report(comparison: Comparison, plan: Plan) -> None:
    """Write picture, Markdown and JSON into the directory of the comparison, the JSON last."""
    if comparison.working:
        plot_comparison(comparison, plan.out / PICTURE)
    write_text(plan.out / MARKDOWN, markdown(comparison))
    write_json(plan.out / RESULT, comparison.model_dump(mode="json"))


def title(comparison: Comparison) -> str:
    """Dataset, split and mask in one line."""
    users = f", {comparison.n_users:,} users" if comparison.n_users else ""
    return f"{comparison.data_name}, {comparison.split} split{users}, masked: {comparison.mask}"


def main_table(comparison: Comparison) -> Table:
    """A row per system: accuracy, difference to the best other, and cost."""
    metrics = list(comparison.tested)
    columns = [
        "model",
        "folds × seeds" if comparison.folds else "seeds",
        *metrics,
        f"{comparison.metric} to best other [95 %]",
        "p (Holm)",
        "detectable",
        "train s",
        "users/s",
        "MB",
    ]
    return Table(columns, [_row(comparison, system) for system in comparison.systems])


def _row(comparison: Comparison, system: SystemResult) -> list[str]:
    seeds = _trainings(comparison, system)
    if not system.worked:
        return [system.label, seeds, "failed", *[NONE] * (len(comparison.tested) + 5)]
    pair = comparison.against_best_other(comparison.metric, system.label)
    return [
        system.label,
        seeds,
        *(_spread(system.metrics[metric]) for metric in comparison.tested),
        interval(pair) if pair else NONE,
        p_value(pair.p_holm) if pair else NONE,
        detectable(pair) if pair else NONE,
        _figure(system.training_seconds),
        _figure(system.users_per_second),
        _figure(system.peak_memory_mb),
    ]


def _trainings(comparison: Comparison, system: SystemResult) -> str:
    """Seeds that worked, or folds and seeds."""
    done, wanted = len(system.done), len(system.runs)
    if done != wanted:
        return f"{done} of {wanted}" if system.uses_seed or comparison.folds else NONE
    if not comparison.folds:
        return str(done) if system.uses_seed else NONE
    n_folds = len(comparison.folds)
    return f"{n_folds} × {done // n_folds if system.uses_seed else NONE}"


def pair_table(comparison: Comparison, metric: str) -> Table:
    """The leader of a metric against every other system."""
    columns = [
        metric,
        "difference [95 %]",
        "p",
        "p (Holm)",
        "detectable",
        "Wilcoxon p",
        "users better",
        "worse",
        "equal",
    ]
    leader, *others = comparison.ranked(metric)
    pairs = [comparison.against(metric, leader.label, other.label) for other in others]
    return Table(columns, [_pair_row(pair) for pair in pairs])


def _pair_row(pair: PairResult) -> list[str]:
    users = (f"{count:,}" for count in (pair.a_better, pair.b_better, pair.equal))
    return [
        f"{pair.a} − {pair.b}",
        interval(pair),
        p_value(pair.p),
        p_value(pair.p_holm),
        detectable(pair),
        p_value(pair.wilcoxon_p),
        *users,
    ]


def verdict(comparison: Comparison, metric: str) -> str:
    """Who leads in a metric, and over whom that is clear, in one sentence."""
    ranked = comparison.ranked(metric)
    if len(ranked) < 2:
        return f"{metric}: nothing to compare, {len(ranked) or 'no'} system worked"
    leader, *others = ranked
    pairs = [comparison.against(metric, leader.label, other.label) for other in others]
    level = [pair.b for pair in pairs if not pair.significant]
    beaten = [f"{pair.b}{_mark(pair)}" for pair in pairs if pair.significant]
    if not level:
        mark = max(map(_mark, pairs), key=len)
        return f"{metric}: {leader.label} is better than every other system{mark}"
    rest = f"; better than {_and(beaten)}" if beaten else ""
    return f"{metric}: {leader.label} leads, but not clearly over {_and(level)}{rest}"


def seed_note(comparison: Comparison) -> list[str]:
    """What ``*`` means, where a test is without the chance of seeds."""
    pairs = (pair for found in comparison.pairs.values() for pair in found)
    return [] if all(pair.over_seeds for pair in pairs) else [f"{ONE_SEED} {ONE_SEED_NOTE}"]


def failures(comparison: Comparison) -> list[str]:
    """A line for each run that failed, with its reason."""
    return [
        f"{system.label} failed{_place(system, run)}: {run.error}"
        for system in comparison.systems
        for run in system.runs
        if run.error is not None
    ]


def _place(system: SystemResult, run: RunResult) -> str:
    fold = "" if run.fold is None else f" in fold {run.fold}"
    return fold + (f" with seed {run.seed}" if system.uses_seed else "")


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, ready for a paper or a README."""
    over = f"seeds {', '.join(map(str, comparison.seeds))}"
    if comparison.folds:
        over = f"{len(comparison.folds)} folds, each the mean of {over}"
    parts = [
        f"# Comparison on {comparison.data_name}",
        f"Dataset {title(comparison)}; all {comparison.dataset.n_items:,} items ranked; "
        f"mean ± standard deviation over {over}.",
        main_table(comparison).markdown(),
        "\n".join(
            f"- {line}"
            for line in [
                *(verdict(comparison, m) for m in comparison.tested),
                *failures(comparison),
                *map(_escape, seed_note(comparison)),
            ]
        ),
    ]
    if len(comparison.working) > 1:
        parts += [pair_table(comparison, metric).markdown() for metric in comparison.tested]
        parts.append(_method(comparison))
    if comparison.working:
        parts.append(f"![Accuracy and training time]({PICTURE})")
    return printable_lines("\n\n".join(parts) + "\n")


def _method(comparison: Comparison) -> str:
    n_tests = sum(len(pairs) for pairs in comparison.pairs.values())
    paired, over, repeated = "users", "the variance over seeds", "seeds"
    if comparison.folds:
        paired, repeated = "users and folds", "folds"
        over = "that over folds, corrected for shared training data (Nadeau and Bengio 2003)"
    return (
        f"Differences are paired over {paired}. Their mean is tested by t with the variance over "
        f"users and {over}, each with its own degrees of freedom; Holm's correction "
        f"covers all {n_tests} {'test' if n_tests == 1 else 'tests'} of pairs and metrics. "
        f"Interval: bootstrap over users and {repeated} ({comparison.resamples:,} resamples). "
        f"Better: corrected p below {ALPHA} and an interval without zero. Detectable: the true "
        f"difference that this many users and {repeated} would show with probability {POWER}. "
        "Wilcoxon's p is information; no verdict rests on it. Training seconds and users per "
        "second are means over trainings, memory is the highest peak of a training."
    )


def interval(pair: PairResult) -> str:
    """A difference and its interval; marked where it holds for these runs alone."""
    return f"{pair.difference:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]{_mark(pair)}"


def _mark(pair: PairResult) -> str:
    return "" if pair.over_seeds else ONE_SEED


def detectable(pair: PairResult) -> str:
    """The smallest difference that would probably be shown."""
    return NONE if pair.detectable is None else f"{pair.detectable:.4f}"


def _escape(line: str) -> str:
    return line.replace("*", "\\*")


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
