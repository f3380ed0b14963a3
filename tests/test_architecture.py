"""The layers import one way, and nothing runs code from its input."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ld4mrec_cli

PACKAGE = Path(ld4mrec_cli.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
LAYERS = [
    "utils",
    "settings",
    "plotting",
    "data",
    "models",
    "evaluation",
    "config",
    "runs",
    "training",
    "serving",
    "server",
    "experiments",
    "api",
    "cli",
]
"""The groups from the bottom to the top: each imports only itself and the groups before it."""

GROUPS = [*LAYERS, "__init__", "__main__"]

FORBIDDEN = {
    "models": {"data", "plotting"},
    "evaluation": {"models", "plotting"},
}
"""Lower groups that a group does without."""

FREE_OF_FILES = ("models", "evaluation")
"""Groups that neither print nor touch files; a dataset or a run is handed to them."""

PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
MAX_FUNCTION_LINES = 60


def modules_of(group: str) -> list[str]:
    return [module for module in MODULES if layer_of(module) == group]


@functools.cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def layer_of(module: str) -> str:
    return module.split("/", maxsplit=1)[0].removesuffix(".py")


def imported(module: str) -> set[str]:
    """Every module that is named in an import, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_layers(module: str) -> set[str]:
    parts = [name.split(".") for name in imported(module)]
    return {part[1] for part in parts if part[0] == "ld4mrec_cli" and len(part) > 1} & set(LAYERS)


@pytest.mark.parametrize("group", LAYERS)
def test_a_module_imports_only_lower_groups(group):
    for module in modules_of(group):
        allowed = set(LAYERS[: LAYERS.index(group) + 1]) - FORBIDDEN.get(group, set())
        assert imported_layers(module) <= allowed


def test_every_module_belongs_to_a_group():
    names = {layer_of(name) for name in MODULES}
    assert names == set(GROUPS)


def test_no_two_folders_import_each_other():
    """Neither groups nor folders within a group, such as ``data/readers`` and ``data/inspect``."""
    imports: dict[str, set[str]] = {}
    folders = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    for module in MODULES:
        folder = Path(module).parent.as_posix()
        for name in imported(module):
            if name.startswith("ld4mrec_cli."):
                target = Path(*name.split(".")[1:])
                while target.as_posix() not in folders:
                    target = target.parent
                if target.as_posix() != folder:
                    imports.setdefault(folder, set()).add(target.as_posix())
    circles = {
        (a, b)
        for a, targets in imports.items()
        for b in targets
        if a in imports.get(b, ()) and "." not in (a, b)
    }
    nested = {
        (a, b) for a, b in circles if Path(a) in Path(b).parents or Path(b) in Path(a).parents
    }
    assert not circles - nested


@pytest.mark.parametrize("group", GROUPS)
def test_functions_are_short(group):
    for module in modules_of(group):
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # The signature of a command declares its options, several lines each.
                first = node.body[0].lineno if module.startswith("cli/") else node.lineno
                n_lines = (node.end_lineno or first) - first + 1
                assert n_lines <= MAX_FUNCTION_LINES, f"{module}: {node.name} has {n_lines} lines"


def calls(module: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls with the dotted name of what is called."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_runs_code_from_its_input(group):
    for module in modules_of(group):
        roots = {name.split(".")[0] for name in imported(module)}
        assert not roots & {
            "pickle",
            "cPickle",
            "dill",
            "cloudpickle",
            "joblib",
            "marshal",
            "shelve",
        }
        for name, call in calls(module):
            assert name not in {
                "eval",
                "exec",
                "compile",
                "__import__",
                "torch.load",
                "yaml.load",
                "os.system",
            }
            settings = {keyword.arg: keyword.value for keyword in call.keywords}
            for unsafe in ("allow_pickle", "shell"):
                value = settings.get(unsafe)
                assert value is None or (
                    isinstance(value, ast.Constant) and value.value is False
                ), f"{name}: {unsafe}"
            if name in ("np.load", "numpy.load"):
                assert "allow_pickle" in settings


@pytest.mark.parametrize("group", FREE_OF_FILES)
def test_the_core_neither_prints_nor_opens_files(group):
    for module in modules_of(group):
        roots = {name.split(".")[0] for name in imported(module)}
        assert not roots & {"pathlib", "os", "sys", "logging", "rich", "typer", "polars"}
        assert not {name for name, _ in calls(module)} & {"print", "open"}


@pytest.mark.parametrize("group", ["models"])
def test_the_core_keeps_no_global_state(group):
    for module in modules_of(group):
        for name, _ in calls(module):
            assert not name.endswith(".cuda"), f"{module}: {name}"
            assert name not in {
                "torch.manual_seed",
                "np.random.seed",
                "torch.set_default_device",
                "random.seed",
            }
        assert not [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Global)]


WEB = {"fastapi", "starlette", "uvicorn", "prometheus_client"}
"""Packages of the extra `serve`."""


def test_only_the_server_needs_its_extra():
    for module in MODULES:
        roots = {name.split(".")[0] for name in imported(module)}
        assert layer_of(module) == "server" or not roots & WEB, module


HEAVY = (
    *sorted(WEB),
    "torch",
    "polars",
    "sklearn",
    "scipy",
    "matplotlib",
    "numpy",
    "safetensors",
    "optuna",
)


@pytest.mark.parametrize("module", ["ld4mrec_cli", "ld4mrec_cli.cli.app"])
def test_importing_the_command_line_is_light(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


GLOBBING = {
    f"{verb}_{file_format}"
    for verb in ("read", "scan")
    for file_format in ("parquet", "csv", "ipc", "lines")
}
"""Readers of polars that take a path with ``[``, ``]``, ``*`` or ``?`` as a pattern by default."""


@pytest.mark.parametrize("group", GROUPS)
def test_tables_are_read_from_literal_paths(group):
    for module in modules_of(group):
        for name, call in calls(module):
            if name.rpartition(".")[2] in GLOBBING and name.startswith(("pl.", "polars.")):
                settings = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert settings.get("glob") == "False", f"{module}:{call.lineno}: {name}"
