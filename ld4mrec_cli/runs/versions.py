"""Versions and device names, for the manifest."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

from ld4mrec_cli import __version__


def package_versions() -> dict[str, str]:
    """Versions of what computes the result."""
    packages = ("torch", "numpy", "scipy", "polars", "scikit-learn", "safetensors")
    return {
        "ld4mrec": __version__,
        "python": platform.python_version(),
        **{p: version(p) for p in packages},
    }


def device_name(device: torch.device) -> str:
    """The device and, for CUDA, what it is."""
    return (
        f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    )
