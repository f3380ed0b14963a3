"""Tiny Hugging Face models with random weights, and pictures for them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ld4mrec_cli.data.encoders.extras import import_extra
from ld4mrec_cli.utils.errors import UserError

SIDE = 32
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION = SMALL | {"image_size": SIDE, "patch_size": 8}
TEXT = SMALL | {
    "vocab_size": 7,
    "max_position_embeddings": 12,
    "pad_token_id": 4,
    "bos_token_id": 5,
    "eos_token_id": 6,
}
SQUARE = {"height": SIDE, "width": SIDE}
KINDS = ("clip", "clip_vision", "siglip", "siglip_vision", "dinov2", "vit", "convnext")


def load_library(module: str, extra: str) -> ModuleType:
    """Import an optional library, or skip the test and say why."""
    try:
        return import_extra(module, extra)
    except UserError as error:
        pytest.skip(str(error))


def save_vision_model(directory: Path, kind: str, library: ModuleType) -> Path:
    """Save a model of images, of one of ``KINDS``, and its image processor."""
    torch.manual_seed(0)
    if kind == "clip":
        config = library.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=10)
        model = library.CLIPModel(config)
    elif kind == "siglip":
        model = library.SiglipModel(library.SiglipConfig(text_config=TEXT, vision_config=VISION))
    elif kind == "clip_vision":
        model = library.CLIPVisionModel(library.CLIPVisionConfig(**VISION))
    elif kind == "siglip_vision":
        model = library.SiglipVisionModel(library.SiglipVisionConfig(**VISION))
    elif kind == "dinov2":
        model = library.Dinov2Model(library.Dinov2Config(**VISION, mlp_ratio=2))
    elif kind == "vit":
        model = library.ViTModel(library.ViTConfig(**VISION))
    else:
        sizes = {"hidden_sizes": [4, 6, 8, 16], "depths": [1, 1, 1, 1]}
        model = library.ConvNextModel(library.ConvNextConfig(**sizes))
    model.save_pretrained(directory)
    vision_processor(library, kind).save_pretrained(directory)
    return directory


def vision_processor(library: ModuleType, kind: str) -> Any:
    if kind.startswith("siglip"):
        return library.SiglipImageProcessorPil(size=SQUARE)
    if kind == "vit":
        return library.ViTImageProcessorPil(size=SQUARE)
    processor = library.CLIPImageProcessorPil if "clip" in kind else library.BitImageProcessorPil
    return processor(size={"shortest_edge": 40}, crop_size=SQUARE)


def save_tokenizer(directory: Path, library: ModuleType) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    words = ("[UNK]", "red", "blue", "hat", "[PAD]", "[CLS]", "[SEP]")
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 5), ("[SEP]", 6)]
    )
    special = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
    }
    library.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=12, **special
    ).save_pretrained(directory)
    return directory


def pictures(folder: Path, **sizes: tuple[int, int]) -> dict[str, Path]:
    """Write a picture of random pixels for each name, of its width and height."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name, (width, height) in sizes.items():
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in sizes}


def write_config(directory: Path, config: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory
