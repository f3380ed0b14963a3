"""Report of `study cold-start`: the first system against the others, the coldest first."""

from __future__ import annotations

from collections.abc import Sequence

from ld4mrec_cli.experiments.study.cold_pictures import show_groups, show_histories, show_new_items
from ld4mrec_cli.experiments.study.cold_start import SHARE
from ld4mrec_cli.experiments.study.cold_tables import list_tables
from ld4mrec_cli.experiments.study.cold_values import (
    GROUP,
    HISTORY,
    Part,
    by_group,
    by_length,
    column_name,
    known_variants,
    of_new_items,
    pair_first,
    recall_of,
)
from ld4mrec_cli.experiments.study.contrasts import (
    Contrast,
    compare_pairings,
    describe_tests,
)
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.report import Report, join_names, name_metric


def report_cold_start(outcome: Outcome) -> Report:
    """Recall by history length, by training interactions of the items, and of new items."""
    known = known_variants(outcome)
    first, metric = (known[0].title if known else ""), name_metric(recall_of(outcome))
    grids = {HISTORY: by_length(outcome), GROUP: by_group(outcome), "": of_new_items(outcome)}
    found = compare_pairings(
        [pairing for name, grid in grids.items() for pairing in pair_first(name, grid, first)]
    )
    names = {name: {column_name(name, column) for column in grid} for name, grid in grids.items()}
    history, group, new = (
        Part(name, grid, [one for one in found if one.metric in names[name]])
        for name, grid in grids.items()
    )
    pictures = [
        *show_histories(history, metric),
        *show_groups(group, metric),
        *show_new_items(new, first, metric),
    ]
    return Report(
        title="Cold start",
        question="Who recommends best to users with short histories, and items with few "
        "interactions or none?",
        answer=_answer(first, (history, group, new), metric),
        findings=[*_findings(first, history, "items of the history"), *_findings(first, group, "")],
        pictures=pictures,
        tables=list_tables(outcome, first, (history, group, new), found),
        method=[*_describe(metric), *describe_tests(found)],
        data={
            "tests": [one.as_json() for one in found],
            "recall": {
                column_name(name, column): {title: one.mean for title, one in values.items()}
                for name, grid in grids.items()
                for column, values in grid.items()
            },
        },
    )


def _describe(metric: str) -> list[str]:
    return [
        f"All figures are {metric}. Histories are cut to at most n items, for all users, so that "
        "the same users are compared over n; which items stay is drawn by the seed, the same for "
        "all systems. Training items stay excluded, so the ranked items are the same, too. A "
        "system that knows a user by the training alone has no such figures.",
        "Items are grouped by their training interactions; the recall of a group is over the users "
        "with a target in it. The content kNN sums up the cosines of an item to the nearest items "
        "of the history; how many is chosen on validation.",
        f"New items: for every seed, two samples of {SHARE:.0%} of the items leave all splits. "
        "Systems are trained on the rest and extended as add-items does; those that "
        "read content of items without interactions keep the content of the samples in training. "
        "Recall is among the new items of the second sample, over the users who had interacted "
        "with one. Sizes and the weight of new items are chosen on the first sample and the "
        "validation split. Chance: a random order of the new items.",
        "Systems are compared seed by seed: a seed draws the same histories and the same samples "
        "for all of them.",
    ]


def _answer(first: str, parts: Sequence[Part], metric: str) -> str:
    openings = {
        HISTORY: "with a history of {}",
        GROUP: "on items with {} training interactions",
        "": "on held-out items",
    }
    said = [
        f"{openings[part.name].format(column)} {_stand(found)}"
        for part in parts
        for column in list(part.grid)[:1]
        if (found := part.of_column(column))
    ]
    if not said:
        return "no two systems worked, so there is nothing to compare"
    tests = [one.test for part in parts for one in part.found]
    runs = "" if all(one.over_seeds for one in tests) else " (in these runs)"
    return f"in {metric}, {first} {'; '.join(said)}{runs}"


def _stand(found: Sequence[Contrast]) -> str:
    """Of whom the first system is ahead, and behind whom it is."""
    ahead = [one.reference for one in found if one.is_better]
    behind = [one.reference for one in found if one.is_worse]
    silent = [one.reference for one in found if not one.test.is_significant]
    said = [f"is ahead of {join_names(ahead)}"] if ahead else []
    said += [f"is behind {join_names(behind)}"] if behind else []
    if not said:
        return "is not shown to differ from any other"
    rest = f" (nothing is shown for {join_names(silent)})" if silent else ""
    return " and ".join(said) + rest


def _findings(first: str, part: Part, unit: str) -> list[str]:
    """Against each other system, the columns in which the first is ahead or behind."""
    lines = []
    for other in dict.fromkeys(one.reference for one in part.found):
        said = []
        for word, is_so in (("ahead", _is_better), ("behind", _is_worse)):
            columns = [
                column
                for column in part.grid
                if any(one.reference == other and is_so(one) for one in part.of_column(column))
            ]
            if columns:
                said.append(f"{word} at {join_names(columns)}")
        if said:
            what = unit or "training interactions of the items"
            lines.append(f"by {what}, {first} against {other}: {', '.join(said)}")
    return lines


def _is_better(one: Contrast) -> bool:
    return one.is_better


def _is_worse(one: Contrast) -> bool:
    return one.is_worse
