"""What `ld4mrec evaluate` does: evaluate a run, or lists of another tool, and write the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ld4mrec_cli.cli.evaluation_output import print_evaluation, write_per_user
from ld4mrec_cli.cli.list_writer import open_writer
from ld4mrec_cli.cli.options import Format
from ld4mrec_cli.cli.output import Output
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.errors import UserError

if TYPE_CHECKING:
    from ld4mrec_cli.data.dataset import Dataset
    from ld4mrec_cli.evaluation.evaluate import OnLists
    from ld4mrec_cli.runs.measures import Extras
    from ld4mrec_cli.runs.newer_data import OnUnknown
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.utils.distributed import Group


class EvaluatedSplit(StrEnum):
    """Splits that can be evaluated."""

    TEST = Split.TEST.value
    VALID = Split.VALID.value


class UnknownChoice(StrEnum):
    """What becomes of users and items that a run, or for given lists a dataset, does not know."""

    ERROR = "error"
    SKIP = "skip"

    @property
    def policy(self) -> OnUnknown:
        """The same for the functions below."""
        return "skip" if self is UnknownChoice.SKIP else "error"


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and what of it."""

    split: EvaluatedSplit
    changes: Mapping[str, Any]
    """Values in place of those of the section ``evaluation``; None is not given."""
    data: Path | None
    on_unknown: UnknownChoice | None
    per_user: Output | None
    extras: Extras

    def options(self, base: EvaluationConfig) -> EvaluationConfig:
        """``base``, changed by the flags."""
        given = {name: value for name, value in self.changes.items() if value is not None}
        return base.model_copy(update=given)


def read_extras(
    beyond: bool,
    categories: str | None,
    separator: str | None,
    groups: bool,
    user_groups: Path | None,
) -> Extras:
    """What is measured beside accuracy. Raises UserError for a separator, or the table of users."""
    from ld4mrec_cli.data.user_columns import read_user_values
    from ld4mrec_cli.runs.measures import Extras

    if separator is not None and (categories is None or not separator):
        what = "is empty" if categories is not None else "is for --categories"
        raise UserError(f"--category-separator {what}", hint="Give both, or leave it out")
    values = {} if user_groups is None else read_user_values(user_groups)
    return Extras(beyond, categories, separator or "|", groups or bool(values), values)


def evaluate_one_run(
    request: Request, run: Path | None, lists: Output | None, device: str, format: Format
) -> None:
    """Evaluate a run, and write and print what was found. Raises UserError."""
    from ld4mrec_cli.cli.console import log, progress_counter
    from ld4mrec_cli.runs.evaluate import applied_mask, evaluate_run, open_run_dataset
    from ld4mrec_cli.runs.paths import latest_run
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.utils.device import resolve_device
    from ld4mrec_cli.utils.distributed import init_distributed

    split = request.split.value
    on_unknown = (request.on_unknown or UnknownChoice.ERROR).policy
    with init_distributed() as group:
        opened = RunDirectory.open(run or Path(group.broadcast(str(latest_run()))))
        options = request.options(opened.config.evaluation)
        dataset = open_run_dataset(opened, request.data)
        place = group.device_for(resolve_device(device))
        own_users = group.shard_sizes(dataset.schema.splits[split].users)[group.rank]
        with (
            progress_counter("evaluating", own_users, group.is_main_process) as on_batch,
            _list_sink(lists, opened, dataset, group) as on_lists,
        ):
            found = evaluate_run(
                opened,
                dataset,
                split,
                options,
                place,
                on_batch,
                group,
                on_lists,
                log,
                None if request.data is None else on_unknown,
                extras=request.extras,
            )
        if not group.is_main_process:
            return
    write_per_user(found, dataset, request.per_user)
    mask = applied_mask(opened, split, options)
    title = f"{opened.manifest.name} ({opened.manifest.model})"
    print_evaluation(found, split, mask, title, {"run": str(opened.path)}, format)


def evaluate_foreign_lists(request: Request, path: Path, format: Format) -> None:
    """Evaluate the lists of a file, and write and print what was found. Raises UserError."""
    from ld4mrec_cli.cli.console import log
    from ld4mrec_cli.data.dataset import Dataset
    from ld4mrec_cli.serving.given_lists import evaluate_given, read_lists
    from ld4mrec_cli.utils.distributed import init_distributed
    from ld4mrec_cli.utils.text import printable

    if request.data is None:
        raise UserError("--lists-from needs the dataset", hint="Name it with --data DIR")

    def note(text: str) -> None:
        log(printable(text))

    with init_distributed() as group:
        if not group.is_main_process:
            return
        dataset, split = Dataset.open(request.data), request.split.value
        options = request.options(EvaluationConfig())
        given = read_lists(path, dataset, (request.on_unknown or UnknownChoice.ERROR).policy, note)
        found = evaluate_given(given, dataset, split, options, note, request.extras)
    write_per_user(found, dataset, request.per_user)
    source = {"lists": str(path), "data": str(dataset.directory)}
    title = f"{dataset.name}, lists of {path}"
    print_evaluation(found, split, options.mask, title, source, format)


@contextmanager
def _list_sink(
    output: Output | None, run: RunDirectory, dataset: Dataset, group: Group
) -> Iterator[OnLists | None]:
    """A function that writes lists, for the evaluation; None where none are asked for."""
    if output is None:
        yield None
        return
    if group.size > 1:
        raise UserError("--lists is written by one process", hint="Run it without torchrun")
    from ld4mrec_cli.runs.catalog import Catalog
    from ld4mrec_cli.serving.lists import make_lists

    catalog = Catalog(run, "train")
    with open_writer(output) as write:
        yield lambda users, items, scores: write(
            make_lists(catalog, [dataset.users[user] for user in users], items, scores)
        )
