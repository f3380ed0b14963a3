"""Shares of a group of processes; tests/cli/test_torchrun.py tests real processes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.utils import distributed as parallel
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import DeviceError


@given(n=st.integers(0, 50), size=st.integers(1, 9))
def test_shares_cover_everything_once_and_evenly(n, size):
    groups = [Group(rank, size) for rank in range(size)]
    shares = [group.shard_bounds(n) for group in groups]
    assert [i for first, last in shares for i in range(first, last)] == list(range(n))
    lengths = [last - first for first, last in shares]
    assert lengths == groups[0].shard_sizes(n)
    assert max(lengths) - min(lengths) <= 1


def test_one_process_alone_passes_everything_through():
    tensor = torch.arange(3.0)
    SINGLE_PROCESS.all_reduce([tensor])
    assert tensor.tolist() == [0.0, 1.0, 2.0]
    assert SINGLE_PROCESS.gather(tensor, [3]) is tensor
    assert SINGLE_PROCESS.broadcast("runs/å") == "runs/å"
    assert SINGLE_PROCESS.is_main_process
    with parallel.init_distributed() as group:
        assert group is SINGLE_PROCESS


def test_of_several_processes_each_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    second = Group(rank=5, size=8, local_rank=1)
    assert second.device_for(torch.device("cuda")) == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match="is one GPU for 8 processes"):
        second.device_for(torch.device("cuda", 1))
    with pytest.raises(DeviceError, match="no GPU for process 2"):
        Group(rank=6, size=8, local_rank=2).device_for(torch.device("cuda"))
    assert second.device_for(torch.device("cpu")) == torch.device("cpu")
    assert SINGLE_PROCESS.device_for(torch.device("cuda")) == torch.device("cuda")
    assert not second.is_main_process


def test_a_single_process_under_torchrun_is_alone(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with parallel.init_distributed() as group:
        assert group == SINGLE_PROCESS


@pytest.mark.parametrize(
    "command", [["demo"], ["compare", "--data", "x"], ["prepare", "--raw", "x"]]
)
def test_commands_for_one_process_are_refused_under_torchrun(command, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(command) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"process 1: error: `{command[0]}` is done by one process. Under torchrun there are "
    )
    assert error.count("\n") == 1
