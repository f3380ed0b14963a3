"""The layers import one way, and nothing runs code from its input."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ld4mrec_cli

PACKAGE = Path(ld4mrec_cli.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
LAYERS = [
    "errors",
    "config",
    "files",
    "statistics",
    "memory",
    "parallel",
    "data",
    "model",
    "training",
    "evaluation",
    "baselines",
    "serving",
    "workflow",
    "studies",
    "cli",
]
"""Each imports only itself and what stands before it."""

SHUT_OUT = {
    "model": {"files", "data"},
    "evaluation": {"files", "data", "model", "training"},
    "baselines": {"files", "data", "training", "evaluation"},
}
"""Earlier layers that a layer does without all the same."""

MAY_USE_FILES_AND_DATA = {"training/checkpoint.py", "training/curve.py"}


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


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) in LAYERS])
def test_a_module_imports_only_what_stands_above_it(module):
    layer = layer_of(module)
    above = set(LAYERS[: LAYERS.index(layer) + 1]) - SHUT_OUT.get(layer, set())
    if layer == "training" and module not in MAY_USE_FILES_AND_DATA:
        above -= {"files", "data"}
    assert imported_layers(module) <= above


def test_every_module_belongs_to_a_layer():
    assert {layer_of(name) for name in MODULES} - {"__init__", "__main__"} == set(LAYERS)


def calls(module: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls with the dotted name of what is called."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("module", MODULES)
def test_nothing_runs_code_from_its_input(module):
    roots = {name.split(".")[0] for name in imported(module)}
    assert not roots & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
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
            assert value is None or (isinstance(value, ast.Constant) and value.value is False), (
                f"{name}: {unsafe}"
            )
        if name in ("np.load", "numpy.load"):
            assert "allow_pickle" in settings


@pytest.mark.parametrize(
    "module", [name for name in MODULES if layer_of(name) in ("model", "evaluation", "baselines")]
)
def test_the_core_neither_prints_nor_opens_files(module):
    roots = {name.split(".")[0] for name in imported(module)}
    assert not roots & {"pathlib", "os", "sys", "logging", "rich", "typer", "polars"}
    assert not {name for name, _ in calls(module)} & {"print", "open"}


@pytest.mark.parametrize("module", [name for name in MODULES if layer_of(name) == "model"])
def test_the_core_keeps_no_global_state(module):
    for name, _ in calls(module):
        assert not name.endswith(".cuda"), f"{module}: {name}"
        assert name not in {
            "torch.manual_seed",
            "np.random.seed",
            "torch.set_default_device",
            "random.seed",
        }
    assert not [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Global)]


HEAVY = ("torch", "polars", "sklearn", "scipy", "matplotlib", "numpy", "safetensors", "optuna")


@pytest.mark.parametrize("module", ["ld4mrec_cli", "ld4mrec_cli.cli.app"])
def test_importing_the_command_line_is_light(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
