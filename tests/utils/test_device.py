from __future__ import annotations

import pytest
import torch

from ld4mrec_cli.utils import device

CPU = torch.device("cpu")


@pytest.mark.parametrize("has", [True, False])
def test_auto_precision_takes_bf16_where_the_hardware_has_it(monkeypatch, has):
    monkeypatch.setattr(device, "has_bf16", lambda kind: has)
    assert device.in_bf16("auto", CPU) is has
    assert device.in_bf16("bf16", CPU)
    assert not device.in_bf16("float32", CPU)


def test_the_hardware_can_be_asked():
    assert device.has_bf16("cpu") in (True, False)
