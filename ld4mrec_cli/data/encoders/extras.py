"""Import of the optional packages that run encoders, offline."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from types import ModuleType

from ld4mrec_cli.utils.errors import UserError

OFFLINE_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
UNCHECKED_OPERATORS = ("nms", "qnms")
"""Operators that torchvision describes at its import without asking whether it has them."""


def require_extra(module: str, extra: str) -> None:
    """Raise UserError with the install command where ``module`` is not installed."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"needs the extra: pip install 'ld4mrec[{extra}]'")


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of an optional extra. It is put offline first.

    Raises:
        UserError: the module is not installed, or its import fails.
    """
    require_extra(module, extra)
    os.environ.update(OFFLINE_ENVIRONMENT)  # the libraries read it at import
    try:
        mend_torchvision()
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        # for example two builds that do not fit together
        hint = f"Install it again: pip install --force-reinstall 'ld4mrec[{extra}]'"
        raise UserError(f"the package {module} cannot be imported ({error})", hint=hint) from None


def mend_torchvision() -> None:
    """Make torchvision importable where its compiled operators do not load.

    timm and transformers import torchvision wherever it is installed. Its wheel for Linux is built
    against CUDA. Beside a CPU build of torch its compiled operators cannot be loaded, which it
    allows for, except that its import describes two of them without asking. To declare these is
    enough: encoders use its Python code alone. Any other failure is left to the library that meets
    it.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            return
        import torch  # slow to import

        for name in UNCHECKED_OPERATORS:
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", signature)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        importlib.import_module("torchvision")
    except (ImportError, OSError, AttributeError):
        return


def get_package_versions(*names: str) -> dict[str, str]:
    """Return the version of each of these packages that is installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
