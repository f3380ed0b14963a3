"""The options of `recommend` that choose users and items: checked, read, and turned into lists."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ld4mrec_cli.utils.errors import UnknownIdError, UserError
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    from ld4mrec_cli.data.dataset import Ids
    from ld4mrec_cli.serving.filters import Filters
    from ld4mrec_cli.serving.ids import OnNote
    from ld4mrec_cli.serving.lists import RecommendationList
    from ld4mrec_cli.serving.recommender import Recommender
    from ld4mrec_cli.utils.distributed import Group

DEFAULT_K = 20


@dataclass(frozen=True)
class UserFlags:
    """Whom lists are made for; exactly one way is given."""

    ids: Sequence[str]
    users_file: Path | None
    everyone: bool
    history: str | None
    histories_file: Path | None
    candidates: Path | None
    skip_unknown: bool

    def __post_init__(self) -> None:
        ways = [self.users_file, self.history, self.histories_file, self.candidates]
        n_ways = sum(way is not None for way in ways) + bool(self.ids) + self.everyone
        if n_ways != 1:
            what = "several ways to name users" if n_ways else "no users given"
            hint = "--user, --users-file, --all, --history, --histories-file, --candidates"
            raise UserError(what, hint=f"Give one of {hint}")


@dataclass(frozen=True)
class FilterFlags:
    """Which items may be listed."""

    items_file: Path | None
    exclude_file: Path | None
    where: Sequence[str]

    def __post_init__(self) -> None:
        self.values()

    def values(self) -> dict[str, list[str]]:
        """Values by column of ``--where``. Raises UserError."""
        values: dict[str, list[str]] = {}
        for flag in self.where:
            column, mark, value = (part.strip() for part in flag.partition("="))
            if not (column and mark and value):
                hint = "Give it as COLUMN=VALUE, such as category=shoes"
                raise UserError(f"--where '{flag}' is not of that form", hint=hint)
            values.setdefault(column, []).append(value)
        return values


def _log_of(group: Group, path: Path | None = None) -> OnNote:
    """A function that logs a line on a file; of several processes, the main process alone logs."""
    from ld4mrec_cli.cli.console import log

    prefix = "" if path is None else f"{printable(str(path))}: "
    return (lambda text: log(f"{prefix}{text}")) if group.is_main_process else (lambda text: None)


def make_filters(
    flags: FilterFlags, recommender: Recommender, group: Group, *, has_new_users: bool = False
) -> Filters:
    """Read the files of the filters. Raises UserError where they leave no item."""
    from ld4mrec_cli.data.columns import ITEM, USER
    from ld4mrec_cli.data.readers.content import data_suffix
    from ld4mrec_cli.data.readers.table import TABLES
    from ld4mrec_cli.serving.id_files import read_ids, read_items

    filters, path = recommender.filters, flags.items_file
    if path is not None:
        note = _log_of(group, path)
        filters = filters.only(read_items(path, recommender.items), note, where=path)
    if flags.where:
        filters = filters.where(flags.values())
    path = flags.exclude_file
    if path is None:
        return filters
    note = _log_of(group, path)
    if data_suffix(path) not in TABLES:
        return filters.without(read_items(path, recommender.items), note)
    table = read_ids(path, (ITEM,), (USER,))
    if USER not in table.columns:
        return filters.without(table[ITEM].to_list(), note)
    if not has_new_users:
        strangers = {user for user in table[USER].unique() if user not in recommender.users}
        if strangers:
            note(f"{len(strangers):,} of {table[USER].n_unique():,} users are unknown")
    return filters.without_for(table[USER].to_list(), table[ITEM].to_list(), note)


def make_lists(
    flags: UserFlags,
    recommender: Recommender,
    filters: Filters,
    k: int | None,
    include_seen: bool,
    reasons: int,
    group: Group,
) -> Iterator[RecommendationList]:
    """Lists for the users of the flags.

    Raises:
        UserError: a file cannot be read, or names nobody.
        UnknownIdError: an id is unknown and is not to be skipped.
    """
    from ld4mrec_cli.serving.id_files import read_pairs

    note, skip = _log_of(group), flags.skip_unknown
    batch_size = recommender.run.config.evaluation.batch_size
    length = k or DEFAULT_K
    if flags.history is not None:
        items = _parse_history(flags.history, recommender, skip, note)
        ranked = recommender.for_history(
            items, length, include_seen=include_seen, filters=filters, reasons=reasons
        )
        return iter([ranked])
    path = flags.candidates or flags.histories_file
    if path is None:
        return recommender.for_users(
            _named_users(flags, recommender, note),
            length,
            include_seen=include_seen,
            filters=filters,
            reasons=reasons,
            batch_size=batch_size,
            group=group,
        )
    values, is_history = recommender.catalog.row_values, flags.candidates is None
    pairs = read_pairs(
        path,
        with_weights=is_history and values.mean_weight is not None,
        with_times=is_history and values.half_life is not None,
    )
    if flags.candidates is not None:
        return recommender.for_candidates(
            pairs,
            k,
            skip_unknown=skip,
            filters=filters,
            reasons=reasons,
            batch_size=batch_size,
            on_note=note,
            group=group,
        )
    return recommender.for_histories(
        pairs,
        length,
        skip_unknown=skip,
        include_seen=include_seen,
        filters=filters,
        reasons=reasons,
        batch_size=batch_size,
        on_note=note,
        group=group,
    )


def note_popular(lists: Iterable[RecommendationList]) -> Iterator[RecommendationList]:
    """Pass lists on, and say at the end how many are of popular items, and how many are empty."""
    from ld4mrec_cli.cli.console import log

    n_popular = n_empty = n_lists = 0
    for ranked in lists:
        n_lists += 1
        n_popular += ranked.is_popular
        n_empty += not ranked.items
        yield ranked
    if n_popular:
        subject = "the list is" if n_lists == 1 else f"{n_popular:,} of {n_lists:,} lists are"
        why = "the history is empty, or the model relates no item to it"
        log(f"{subject} the most popular items: {why}")
    if n_empty:
        log(f"{n_empty:,} of {n_lists:,} lists are empty: every item is known or filtered out")


def _named_users(flags: UserFlags, recommender: Recommender, note: OnNote) -> Sequence[str]:
    """Users of the command line or of a file, each once, in order."""
    from ld4mrec_cli.data.dataset import UNKNOWN
    from ld4mrec_cli.serving.id_files import match_id, read_lines
    from ld4mrec_cli.serving.ids import find_known

    if flags.everyone:
        return recommender.users.ids
    ids, path = recommender.users, flags.users_file
    if path is None:
        names = [match_id(user, ids) for user in flags.ids]
    else:
        lines = enumerate((match_id(line, ids) for line in read_lines(path)), start=1)
        line_of = {name: number for number, name in lines if name or name in ids}
        names = list(line_of)
        if not names:
            raise UserError("names no user", where=path)
        if not flags.skip_unknown:
            _refuse_unknown(line_of, ids, path)
    names = list(dict.fromkeys(names))
    if flags.skip_unknown and not any(name in ids for name in names):
        raise UserError("no known user is left", where=path)
    found = find_known(names, ids, skip_unknown=flags.skip_unknown, on_note=note, where=path)
    return [name for name, index in zip(names, found, strict=True) if index != UNKNOWN]


def _refuse_unknown(line_of: dict[str, int], ids: Ids, path: Path) -> None:
    """Raise UnknownIdError with the line of the first unknown user of a file."""
    unknown = [name for name in line_of if name not in ids]
    if not unknown:
        return
    more = f" ({len(unknown):,} are unknown)" if len(unknown) > 1 else ""
    raise UnknownIdError(
        f"unknown user '{printable(unknown[0])}'{more}",
        where=path,
        line=line_of[unknown[0]],
        hint="--skip-unknown leaves unknown users out",
    )


def _parse_history(text: str, recommender: Recommender, skip: bool, note: OnNote) -> list[str]:
    """Split a comma-separated history; ids with commas are quoted as in CSV, or stand alone.

    Raises:
        UserError: the text is not CSV or names no item.
        UnknownIdError: an item is unknown and is not to be skipped.
    """
    from ld4mrec_cli.data.dataset import UNKNOWN
    from ld4mrec_cli.serving.id_files import match_id
    from ld4mrec_cli.serving.ids import find_known

    ids, hint = recommender.items, "Give item ids, comma-separated"
    if text in ids:
        return [text]
    try:
        fields = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise UserError(f"--history cannot be read ({error})", hint=hint) from None
    items = [item for item in (match_id(field, ids) for field in fields) if item or item in ids]
    if not items:
        raise UserError("--history names no item", hint=hint)
    found = find_known(items, ids, skip_unknown=skip, on_note=note)
    return [item for item, index in zip(items, found, strict=True) if index != UNKNOWN]
