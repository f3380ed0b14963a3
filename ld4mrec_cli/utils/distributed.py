"""Processes that do one piece of work together, as torchrun starts them (torch.distributed)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from ld4mrec_cli.utils.errors import DeviceError

LARGE = 2**20
"""Numbers from which a tensor is added up by itself, without a copy."""
TIMEOUT = timedelta(hours=4)
"""How long processes wait for each other: one of them computes item signals while the others do nothing."""


@dataclass(frozen=True)
class Group:
    """The processes of a piece of work, seen from one of them. Each calls the same methods in the same order."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """The process's number on its machine."""

    @property
    def is_main_process(self) -> bool:
        """Whether this is the one process that writes files and results."""
        return self.rank == 0

    def device_for(self, device: torch.device) -> torch.device:
        """The device of this process: of several on one machine each takes a GPU of its own.

        Raises:
            DeviceError: there is none for it, or one GPU is named for all.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        if device.index is not None:
            raise DeviceError(
                f"'{device}' is one GPU for {self.size} processes", hint="Give --device cuda"
            )
        if self.local_rank >= torch.cuda.device_count():
            hint = f"Start at most {torch.cuda.device_count()} processes on this machine, or give --device cpu"
            raise DeviceError(
                f"there is no GPU for process {self.local_rank} of this machine", hint=hint
            )
        return torch.device("cuda", self.local_rank)

    def shard_sizes(self, n: int) -> list[int]:
        """How many of n things each process does: as equal as can be, in order of rank."""
        return [n // self.size + (rank < n % self.size) for rank in range(self.size)]

    def shard_bounds(self, n: int) -> tuple[int, int]:
        """First and last (not included) of n things that this process does."""
        first, last = list(pairwise(accumulate(self.shard_sizes(n), initial=0)))[self.rank]
        return first, last

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 ``tensors``, of the same shapes in every process, by their sums over the processes."""
        if self.size == 1:
            return
        small = [
            tensor for tensor in tensors if tensor.numel() < LARGE or not tensor.is_contiguous()
        ]
        for tensor in tensors:
            if tensor.numel() >= LARGE and tensor.is_contiguous():
                dist.all_reduce(tensor)
        joined = torch.cat([tensor.reshape(-1) for tensor in small])
        dist.all_reduce(joined)
        for tensor, part in zip(
            small, joined.split([tensor.numel() for tensor in small]), strict=True
        ):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in any process."""
        return bool(self.gather_array(np.array([int(flag)]), [1] * self.size).any())

    def gather(self, part: Tensor, lengths: Sequence[int]) -> Tensor:
        """Put the parts of all processes together: ``(lengths[rank], …)`` here, ``(Σ lengths, …)`` the result."""
        if self.size == 1:
            return part
        shape = (max(lengths), *part.shape[1:])
        padded = part.new_zeros(shape)
        padded[: len(part)] = part
        received = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(received, padded)
        return torch.cat(
            [tensor[:length] for tensor, length in zip(received, lengths, strict=True)]
        )

    def gather_array(self, part: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """:meth:`gather` of arrays."""
        if self.size == 1:
            return part
        return self.gather(torch.from_numpy(np.ascontiguousarray(part)), lengths).numpy()

    def broadcast(self, text: str) -> str:
        """The writer's text, in every process."""
        if self.size == 1:
            return text
        encoded = torch.tensor(
            list(text.encode()) if self.is_main_process else [], dtype=torch.uint8
        )
        length = torch.tensor(len(encoded))
        dist.broadcast(length, 0)
        if not self.is_main_process:
            encoded = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(encoded, 0)
        return bytes(encoded.tolist()).decode()


SINGLE_PROCESS = Group()
"""One process that does all the work."""


def processes() -> int:
    """How many processes torchrun started for this work; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


@contextmanager
def init_distributed() -> Iterator[Group]:
    """Join the processes that torchrun started, for the time of the block; alone without torchrun."""
    if processes() == 1:
        yield SINGLE_PROCESS
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    with_gpu = torch.cuda.is_available()
    if with_gpu:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if with_gpu else "gloo", timeout=TIMEOUT)
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), local_rank)
    finally:
        dist.destroy_process_group()
