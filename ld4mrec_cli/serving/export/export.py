"""Write a run's model for other systems: tables of vectors and weights, and an ONNX model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import torch

from ld4mrec_cli import __version__
from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.runs.catalog import Catalog, KnownSplits
from ld4mrec_cli.runs.run_directory import WEIGHTS, RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.serving.export.check import (
    ONNX_TOLERANCE,
    VECTOR_TOLERANCE,
    check_difference,
    relative_difference,
    sample_users,
    scores_of_parts,
)
from ld4mrec_cli.serving.export.onnx_check import compare_with_runtime, has_runtime
from ld4mrec_cli.serving.export.onnx_graph import import_onnx
from ld4mrec_cli.serving.export.onnx_models import build_graph
from ld4mrec_cli.serving.export.parts import split_parts
from ld4mrec_cli.serving.export.vectors import WEIGHTS_FILE, write_vectors, write_weights
from ld4mrec_cli.utils.errors import OutputError, RunError, UserError
from ld4mrec_cli.utils.files import atomic_directory, check_output_directory, sha256, write_json

ExportFormat = Literal["parquet", "onnx"]
FORMATS: Final[tuple[ExportFormat, ...]] = ("parquet", "onnx")
EXPORT_FILE, ONNX_FILE, FORMAT_NAME = "export.json", "model.onnx", "ld4mrec-export"
DEFAULT_NEIGHBORS = 200


@dataclass
class ExportReport:
    """What an export holds: the content of ``export.json``."""

    model: str
    run: dict[str, str]
    n_users: int
    n_items: int
    splits: str
    """Whose interactions are the histories of the users."""
    vectors: dict[str, dict[str, int]] = field(default_factory=dict)
    """Length of the vectors by file and column."""
    score: str | None = None
    """How a score is computed from the tables."""
    is_exact: bool | None = None
    """Whether that is the model's score; not where weights were left out."""
    max_difference: float | None = None
    """Largest difference of such scores from the model's."""
    onnx: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 by file name."""


@dataclass(frozen=True)
class _Source:
    """What is exported."""

    run: RunDirectory
    scorer: Recommender
    catalog: Catalog


def export_run(
    run: RunDirectory,
    out: Path,
    formats: Sequence[ExportFormat] | None = None,
    *,
    splits: KnownSplits = "all",
    neighbors: int = DEFAULT_NEIGHBORS,
    overwrite: bool = False,
    device: torch.device | None = None,
    on_note: Callable[[str], None] = lambda text: None,
) -> ExportReport:
    """Write the model of a run as tables and as an ONNX model.

    Args:
        run: a run with weights.
        out: directory to write.
        formats: what to write; None: all that the model and the installed packages allow.
        splits: whose interactions are the histories of the users.
        neighbors: of dense item-item weights, the largest that are written for each item.
        overwrite: replace an earlier export.
        device: where the model scores; None: the CPU.
        on_note: gets a line on what is left out.

    Raises:
        UserError: the model cannot be written in one of ``formats``, or a package is missing.
        OutputError: ``out`` exists and may not be replaced.
        OutputFailed: the files give other scores than the model.
        RunError: the run is damaged or has no weights, or `add-items` made it.
    """
    _check_source(run)
    check_output_directory(out, overwrite=overwrite, is_replaceable=is_export)
    _check_packages(formats or ())
    scorer = load_scorer(run, device or torch.device("cpu"))
    source = _Source(run, scorer, Catalog(run, splits))
    report = _start_report(run, splits)

    def note(text: str) -> None:
        report.notes.append(text)
        on_note(text)

    with atomic_directory(out, overwrite=overwrite, is_replaceable=is_export) as directory:
        n_written = 0
        for name, write in WRITERS.items():
            if formats is not None and name not in formats:
                continue
            try:
                write(source, directory, report, neighbors, note)
                n_written += 1
            except OutputError:
                raise
            except UserError as error:
                if formats is not None:
                    raise
                note(f"no {name}: {error}")
        if not n_written:
            raise UserError(f"nothing can be exported of this run: {report.notes[-1]}")
        report.files = {path.name: sha256(path) for path in sorted(directory.iterdir())}
        content = {"format": FORMAT_NAME, "version": 1, "ld4mrec": __version__, **asdict(report)}
        write_json(directory / EXPORT_FILE, content)
    return report


def _check_source(run: RunDirectory) -> None:
    """Raise RunError for a run that `add-items` made."""
    if run.manifest.new_items is not None:
        hint = f"Export the run that it came from, {run.manifest.new_items.source}"
        raise RunError("is extended by new items, which have no vectors", where=run.path, hint=hint)


def _check_packages(formats: Sequence[ExportFormat]) -> None:
    """Raise UserError where a package is missing that one of ``formats`` needs."""
    if "onnx" in formats:
        import_onnx()


def _start_report(run: RunDirectory, splits: str) -> ExportReport:
    manifest = run.manifest
    source = {
        "path": str(run.path.resolve()),
        "started": manifest.started,
        "config_hash": manifest.config_hash,
        "weights_hash": manifest.files.get(WEIGHTS, ""),
        "dataset_hash": manifest.dataset.hash,
    }
    info = manifest.dataset
    return ExportReport(manifest.model, source, info.n_users, info.n_items, splits)


def _write_parquet(
    source: _Source,
    directory: Path,
    report: ExportReport,
    neighbors: int,
    note: Callable[[str], None],
) -> None:
    """Tables of users, items and weights; they are read again and compared with the model."""
    catalog = source.catalog
    parts = split_parts(source.scorer, len(catalog.items))
    n_left_out = 0
    if parts.weights is not None:
        path = directory / WEIGHTS_FILE
        n_left_out = write_weights(path, catalog, parts.weights, neighbors)
    report.vectors = write_vectors(directory, catalog, parts)
    report.score, report.is_exact = parts.formula, not n_left_out
    users = sample_users(catalog.known)
    with torch.inference_mode():
        expected = source.scorer.score(catalog.known[users], users).float().cpu().numpy()
    found = scores_of_parts(directory, catalog, parts, users)
    report.max_difference = relative_difference(found, expected)
    if not n_left_out:
        check_difference(report.max_difference, VECTOR_TOLERANCE, "tables give")
    else:
        note(
            f"{n_left_out:,} smaller item-item weights are left out, so scores from the tables are "
            f"approximate; --neighbors {len(catalog.items)} keeps all"
        )
    if not parts.is_inner_product:
        note(f"a score is no single inner product, it is {parts.formula}")


def _write_onnx(
    source: _Source,
    directory: Path,
    report: ExportReport,
    neighbors: int,
    note: Callable[[str], None],
) -> None:
    """The ONNX model, compared with the model where onnxruntime is installed."""
    import_onnx()
    graph = build_graph(source.scorer, report.model, source.run.settled_config)
    path = directory / ONNX_FILE
    metadata = {"model": report.model, "weights_hash": report.run["weights_hash"]}
    names = graph.save(path, metadata)
    difference = None
    if has_runtime():
        known = source.catalog.known
        difference = compare_with_runtime(path, source.scorer, known[sample_users(known)])
        check_difference(difference, ONNX_TOLERANCE, "ONNX model gives")
    else:
        note("the ONNX model is not checked: onnxruntime is not installed")
    report.onnx = {
        "files": names,
        "input": {"items": ["n", "length"], "padding": -1},
        "outputs": dict(graph.outputs),
        "max_difference": difference,
    }
    if not report.vectors:
        report.vectors = write_vectors(directory, source.catalog, None)


WRITERS: dict[ExportFormat, Callable[..., None]] = {
    "parquet": _write_parquet,
    "onnx": _write_onnx,
}


def is_export(directory: Path) -> bool:
    """Whether a directory holds an export and nothing else, so that it may be replaced."""
    try:
        content = json.loads((directory / EXPORT_FILE).read_text(encoding="utf-8"))
        listed = {EXPORT_FILE, *content["files"]}
        is_ours = content["format"] == FORMAT_NAME
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return is_ours and all(
        path.name in listed and path.is_file() and not path.is_symlink()
        for path in directory.iterdir()
    )
