"""A group of processes that share the work, as torchrun starts them (torch.distributed)."""

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

MIN_UNBUCKETED = 2**20
"""Elements from which a tensor is reduced by itself; smaller ones are copied into one bucket."""
TIMEOUT = timedelta(hours=4)
"""How long processes wait for each other. One computes item signals while the others wait."""


@dataclass(frozen=True)
class Group:
    """The processes that share the work, seen from one of them.

    All of them call the same methods in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Number of the process on its machine."""

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes files and results."""
        return self.rank == 0

    def device_for(self, device: torch.device) -> torch.device:
        """The device of this process; several processes on one machine take a GPU each.

        Raises:
            DeviceError: there are fewer GPUs than processes, or ``device`` names one GPU for all.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        if device.index is not None:
            raise DeviceError(
                f"'{device}' is one GPU for {self.size} processes", hint="Give --device cuda"
            )
        if self.local_rank >= torch.cuda.device_count():
            n_gpus = torch.cuda.device_count()
            hint = f"Start at most {n_gpus} processes on this machine, or give --device cpu"
            raise DeviceError(
                f"there is no GPU for process {self.local_rank} of this machine", hint=hint
            )
        return torch.device("cuda", self.local_rank)

    def shard_sizes(self, n: int) -> list[int]:
        """Sizes of the shards of ``n`` elements, by rank; they differ by at most 1."""
        return [n // self.size + (rank < n % self.size) for rank in range(self.size)]

    def shard_bounds(self, n: int) -> tuple[int, int]:
        """Start and end (not included) of this process's shard of ``n`` elements."""
        start, end = list(pairwise(accumulate(self.shard_sizes(n), initial=0)))[self.rank]
        return start, end

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Sum float32 ``tensors`` over the processes, in place. Shapes are the same in each."""
        if self.size == 1:
            return
        small = []
        for tensor in tensors:
            if tensor.numel() >= MIN_UNBUCKETED and tensor.is_contiguous():
                dist.all_reduce(tensor)
            else:
                small.append(tensor)
        if not small:
            return
        bucket = torch.cat([tensor.reshape(-1) for tensor in small])
        dist.all_reduce(bucket)
        sizes = [tensor.numel() for tensor in small]
        for tensor, total in zip(small, bucket.split(sizes), strict=True):
            tensor.copy_(total.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process."""
        return bool(self.gather_array(np.array([int(flag)]), [1] * self.size).any())

    def gather(self, shard: Tensor, lengths: Sequence[int]) -> Tensor:
        """Concatenate the shards of all processes, in every process.

        Args:
            shard: ``(lengths[rank], …)``.
            lengths: length of each process's shard.

        Returns:
            ``(sum(lengths), …)``.
        """
        if self.size == 1:
            return shard
        padded = shard.new_zeros((max(lengths), *shard.shape[1:]))
        padded[: len(shard)] = shard
        received = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(received, padded)
        return torch.cat(
            [tensor[:length] for tensor, length in zip(received, lengths, strict=True)]
        )

    def gather_array(self, shard: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """:meth:`gather` of arrays."""
        if self.size == 1:
            return shard
        return self.gather(torch.from_numpy(np.ascontiguousarray(shard)), lengths).numpy()

    def broadcast(self, text: str) -> str:
        """The main process's ``text``, in every process."""
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
"""A group of one process."""


def world_size() -> int:
    """Number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


@contextmanager
def init_distributed() -> Iterator[Group]:
    """Join the group that torchrun started, for the time of the block.

    Without torchrun, and with one process, it is :data:`SINGLE_PROCESS`.
    """
    if world_size() == 1:
        yield SINGLE_PROCESS
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    with_gpu = torch.cuda.is_available()
    if with_gpu:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if with_gpu else "gloo", timeout=TIMEOUT)
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), local_rank)
        dist.barrier()  # none leaves while another still sends to it
    finally:
        dist.destroy_process_group()
