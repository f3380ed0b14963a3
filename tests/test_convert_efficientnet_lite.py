"""`examples/convert_efficientnet_lite.py`: names as timm has them, and no pickle is run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ld4mrec_cli.data.encoders.extras import import_extra
from ld4mrec_cli.data.encoders.timm_backbone import load_timm_directory
from ld4mrec_cli.utils.errors import UserError

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "convert_efficientnet_lite.py"
SPEC = importlib.util.spec_from_file_location("convert_efficientnet_lite", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
converter = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(converter)


class Harmful:
    def __reduce__(self):
        return print, ("this was run",)


def convert(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "converted"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn1.running_var", "bn2.running_var"),
        ("_fc.bias", "classifier.bias"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.1._expand_conv.weight", "blocks.1.0.conv_pw.weight"),
        ("_blocks.2._bn2.bias", "blocks.1.1.bn3.bias"),
        ("_blocks.15._project_conv.weight", "blocks.6.0.conv_pwl.weight"),
    ],
)
def test_tensors_get_the_names_of_timm(name, converted):
    assert converter.rename(name) == converted


@pytest.mark.slow
def test_a_pickled_object_is_not_opened(tmp_path):
    torch.save({"_fc.bias": Harmful()}, tmp_path / "w.pth")
    done = convert(tmp_path / "out", "--weights", tmp_path / "w.pth")
    assert done.returncode != 0
    assert "this was run" not in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_weights_of_the_backbone_are_there(tmp_path):
    try:
        timm = import_extra("timm", "images")
    except UserError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = published_names()
    state = model.state_dict()
    assert set(names) == set(state)
    torch.save({names[name]: tensor for name, tensor in state.items()}, tmp_path / "w.pth")
    done = convert(tmp_path / "out", "--weights", tmp_path / "w.pth")
    assert done.returncode == 0, done.stderr
    converted = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(converted[name], state[name]) for name in state)
    loaded = load_timm_directory(tmp_path / "out").module.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in loaded)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architecture"] == "tf_efficientnet_lite0"
    assert (
        convert(tmp_path / "out", "--weights", tmp_path / "w.pth")
        .stderr.strip()
        .endswith("out exists")
    )


def published_names() -> dict[str, str]:
    """The names in the package's file, by those of timm."""
    tensors = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = ["_fc.weight", "_fc.bias"]
    layers = ["_conv_stem", "_bn0", "_conv_head", "_bn1"]
    layers += [f"_blocks.0.{layer}" for layer in converter.FIRST_BLOCK]
    layers += [f"_blocks.{number}.{layer}" for number in range(1, 16) for layer in converter.BLOCK]
    for layer in layers:
        names += [f"{layer}.{part}" for part in (tensors if "_bn" in layer else tensors[:1])]
    return {converter.rename(name): name for name in names}
