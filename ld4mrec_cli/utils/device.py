"""Choice of the compute device."""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

import torch

from ld4mrec_cli.utils.errors import DeviceError


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device of this machine.

    Raises:
        DeviceError: the name is none of these, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise DeviceError(f"unknown device '{name}'", hint="Choose auto, cpu, cuda or cuda:N")
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(
            f"device '{name}' is not available: this machine has no usable CUDA device",
            hint="Use --device cpu",
        )
    device = torch.device(name)
    n_devices = torch.cuda.device_count()
    if device.index is not None and device.index >= n_devices:
        what = f"device '{name}' is not available: this machine has {n_devices} CUDA devices"
        raise DeviceError(what)
    return device


def in_bf16(precision: Literal["float32", "bf16", "auto"], device: torch.device) -> bool:
    """Whether matrix products use bfloat16; with ``auto`` where the hardware has it."""
    return precision == "bf16" or (precision == "auto" and has_bf16(device.type))


@cache
def has_bf16(device_type: str) -> bool:
    """Whether the hardware has bfloat16 products; emulated ones are slower than float32."""
    if device_type == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    checks = (
        getattr(torch.cpu, name, None)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks if check is not None)
