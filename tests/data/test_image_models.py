"""Image encoders from model directories, and images that cannot be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from model_directories import (
    KINDS,
    load_library,
    pictures,
    save_tokenizer,
    save_vision_model,
    write_config,
)
from PIL import Image
from raw_files import assert_rejected, fill
from safetensors.torch import load_file, save_file

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.encoders import image as images
from ld4mrec_cli.data.encoders import text as texts
from ld4mrec_cli.data.encoders.picture import find_unreadable, open_image
from ld4mrec_cli.data.encoders.timm_backbone import read_arguments
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.settings.data import PrepareConfig

N = 6
TABLE = "user,item\n" + "".join(f"u{user},i{item}\n" for user in range(N) for item in range(N))
SIZES = {"i0": (50, 70), "i1": (1, 1), "i2": (3, 3), "i3": (3, 90), "i4": (40, 3), "i5": (32, 32)}


@pytest.fixture
def transformers():
    return load_library("transformers", "images")


def encode(directory: Path, paths: list[Path]) -> np.ndarray:
    options = PrepareConfig(image_encoder=directory)
    encoder, _ = images.load_image_encoder(
        images.recognize_image_encoder(directory, options), "cpu"
    )
    return encoder(paths)


def raw_with_pictures(tmp_path: Path, **files: tuple[int, int]) -> Path:
    raw = fill(tmp_path / "raw", {"interactions.csv": TABLE})
    pictures(raw / "images", **files)
    return raw


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_a_direct_call(tmp_path, transformers, kind):
    directory = save_vision_model(tmp_path / kind, kind, transformers)
    paths = list(pictures(tmp_path / "images", a=(50, 70), b=(32, 32), c=(90, 45)).values())
    processor = transformers.AutoImageProcessor.from_pretrained(directory, backend="pil")
    model = transformers.AutoModel.from_pretrained(directory).eval()
    batch = processor(images=[open_image(path) for path in paths], return_tensors="pt")
    with torch.inference_mode():
        of_images = getattr(model, "get_image_features", model)
        expected = of_images(**batch).pooler_output
    values = encode(directory, paths)
    assert values.shape == (3, 10 if kind == "clip" else 16)
    np.testing.assert_allclose(values, expected.flatten(1), atol=1e-6)
    assert np.abs(values[0] - values[1]).max() > 1e-3


@pytest.mark.slow
def test_the_class_token_stands_in_for_a_pooler_without_weights(tmp_path, transformers):
    directory = save_vision_model(tmp_path / "vit", "vit", transformers)
    path = directory / "model.safetensors"
    state = {name: value for name, value in load_file(path).items() if "pooler" not in name}
    save_file(state, path, metadata={"format": "pt"})
    paths = list(pictures(tmp_path / "images", a=(50, 70)).values())
    model = transformers.ViTModel.from_pretrained(directory, add_pooling_layer=False).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(directory, backend="pil")
    with torch.inference_mode():
        output = model(**processor(images=[open_image(paths[0])], return_tensors="pt"))
    np.testing.assert_allclose(encode(directory, paths), output.last_hidden_state[:, 0], atol=1e-6)


@pytest.mark.slow
def test_pictures_of_every_shape_are_encoded_alone_as_in_a_batch(tmp_path, transformers):
    directory = save_vision_model(tmp_path / "clip", "clip", transformers)
    paths = list(pictures(tmp_path / "images", **SIZES).values())
    together = encode(directory, paths)
    alone = np.concatenate([encode(directory, [path]) for path in paths])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.slow
def test_a_picture_three_pixels_high_is_not_taken_for_three_channels(tmp_path, transformers):
    directory = save_vision_model(tmp_path / "siglip", "siglip_vision", transformers)
    paths = [tmp_path / f"{number}.png" for number in range(len(SIZES))]
    for path, size in zip(paths, SIZES.values(), strict=True):
        Image.new("RGB", size, (250, 120, 10)).save(path)
    values = encode(directory, paths)
    np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), atol=1e-5)


@pytest.mark.slow
def test_prepare_reads_images_and_texts_with_one_directory(tmp_path, transformers):
    load_library("sentence_transformers", "text")
    directory = save_vision_model(tmp_path / "clip", "clip", transformers)
    save_tokenizer(directory, transformers)
    raw = raw_with_pictures(tmp_path, i0=(50, 70), i3=(20, 20))
    fill(raw, {"items.csv": "item,title\ni0,red hat\ni1,blue\n"})
    told = []
    options = PrepareConfig(
        image_encoder=directory, text_encoder=str(directory), encoder_device="cpu"
    )
    prepared = prepare(raw, tmp_path / "out", options, on_encoded=lambda *step: told.append(step))
    image = Dataset.open(tmp_path / "out").modality("image")
    assert image.present.tolist() == [True, False, False, True, False, False]
    np.testing.assert_allclose(
        image.values[[0, 3]],
        encode(directory, [raw / "images" / "i0.png", raw / "images" / "i3.png"]),
        atol=1e-6,
    )
    assert Dataset.open(tmp_path / "out").modality("text").values.shape == (N, 10)
    assert ("checking images", 2, 2) in told
    assert ("encoding image", 2, 2) in told
    record = prepared.schema.provenance["encoders"]["image"]
    assert record["backbone"] == "clip"
    assert {"config.json", "model.safetensors"} <= {file["name"] for file in record["files"]}
    assert "transformers" in record["packages"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_text_has_the_vector_of_a_direct_call_whatever_is_beside_it(tmp_path, transformers, kind):
    load_library("sentence_transformers", "text")
    directory = save_tokenizer(save_vision_model(tmp_path / kind, kind, transformers), transformers)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory).eval()
    batch = tokenizer(
        ["red", "blue hat red hat"], padding="max_length", max_length=12, return_tensors="pt"
    )
    batch.pop("token_type_ids", None)
    with torch.inference_mode():
        expected = model.get_text_features(**batch).pooler_output
    encoder = texts.load_text_encoder(directory, "cpu")
    np.testing.assert_allclose(encoder(["red", "blue hat red hat"]), expected, atol=1e-5)
    np.testing.assert_allclose(encoder(["red"]), expected[:1], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("weights", "its weights are incomplete ('vision_model.encoder.layers.0"),
        ("damaged", "cannot be loaded as a model of images"),
        ("size", "the model and the pictures prepared for it do not fit together"),
        ("type", "transformers has no model 'own-clip' of its own"),
    ],
)
def test_a_directory_that_does_not_fit_together_is_one_line(tmp_path, transformers, change, part):
    directory = save_vision_model(tmp_path / "clip", "clip_vision", transformers)
    weights = directory / "model.safetensors"
    if change == "weights":
        state = load_file(weights)
        lost = next(name for name in sorted(state) if "layers.0" in name)
        save_file({n: t for n, t in state.items() if n != lost}, weights, {"format": "pt"})
    elif change == "damaged":
        weights.write_bytes(weights.read_bytes()[:100])
    elif change == "size":
        transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40}
        ).save_pretrained(directory)
    else:
        config = json.loads((directory / "config.json").read_text())
        write_config(directory, config | {"model_type": "own-clip"})
    raw = raw_with_pictures(tmp_path, i0=(5, 5))
    options = PrepareConfig(image_encoder=directory, encoder_device="cpu")
    message = assert_rejected(lambda: prepare(raw, tmp_path / "out", options), str(directory))
    assert part.split("vision_model.")[0] in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_timm_directory_says_how_its_pictures_are_prepared(tmp_path):
    timm = load_library("timm", "images")
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", pretrained=False, num_classes=3).eval()
    own = {"crop_mode": "squash", "crop_pct": 1.0, "mean": [0.1] * 3, "std": [0.5] * 3}
    config = {
        "architecture": "resnet10t",
        "pretrained_cfg": own | {"input_size": [3, 64, 64], "interpolation": "bilinear"},
    }
    directory = write_config(tmp_path / "model", config)
    save_file(model.state_dict(), directory / "model.safetensors")
    path = pictures(tmp_path / "images", a=(80, 40))["a"]
    squashed = Image.open(path).resize((64, 64), Image.Resampling.BILINEAR)
    pixels = (torch.from_numpy(np.asarray(squashed).copy()) / 255 - 0.1) / 0.5
    with torch.inference_mode():
        features = model.forward_head(
            model.forward_features(pixels.permute(2, 0, 1)[None]), pre_logits=True
        )
    np.testing.assert_allclose(encode(directory, [path]), features, rtol=1e-4, atol=1e-5)
    write_config(directory, config | {"architecture": "resnet18"})
    assert_rejected(lambda: encode(directory, [path]), "not those of 'resnet18'", "config.json")
    write_config(directory, config | {"pretrained_cfg": {"mean": "red"}})
    assert_rejected(lambda: encode(directory, [path]), "config.json")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"checkpoint_path": "x.pth"}, "must not set 'checkpoint_path'"),
        ({"pretrained": True}, "must not set 'pretrained'"),
        ([1], "model_args is not a mapping"),
    ],
)
def test_a_timm_directory_does_not_say_where_weights_come_from(tmp_path, arguments, part):
    path = tmp_path / "config.json"
    assert_rejected(lambda: read_arguments({"model_args": arguments}, path), part, "config.json")


@pytest.mark.parametrize(
    ("config", "files", "part"),
    [
        (None, ["model.safetensors"], "is not a model directory (no config.json)"),
        ("{", ["model.safetensors"], "is not a model directory (damaged)"),
        ("[]", ["model.safetensors"], "is not a model directory (damaged)"),
        ("{}", ["model.safetensors"], "neither a model_type nor an architecture"),
        ('{"model_type": "clip"}', [], "its weights are not .safetensors"),
        ('{"model_type": "clip"}', ["pytorch_model.bin"], "its weights are not .safetensors"),
        ('{"model_type": "clip"}', ["model.safetensors"], "has no preprocessor_config.json"),
    ],
)
def test_a_directory_that_is_no_safe_model_is_refused_first(tmp_path, config, files, part):
    directory = fill(tmp_path / "model", dict.fromkeys(files, b""))
    if config is not None:
        fill(directory, {"config.json": config})
    raw = fill(tmp_path / "raw", {"interactions.csv": "user,item\nbroken\n"})
    options = PrepareConfig(image_encoder=directory)
    message = assert_rejected(lambda: prepare(raw, tmp_path / "out", options), part)
    assert "prepare.image_encoder" in message


def test_a_backbone_beside_a_directory_is_refused(tmp_path):
    directory = fill(tmp_path / "model", {"config.json": '{"architecture": "x"}'})
    fill(directory, {"model.safetensors": b""})
    options = PrepareConfig(image_encoder=directory, image_backbone="resnet18")
    assert_rejected(
        lambda: images.recognize_image_encoder(directory, options), "prepare.image_backbone"
    )


def test_unreadable_images_are_counted_and_named(tmp_path):
    good = list(pictures(tmp_path, good=(5, 5)).values())
    names = [f"b{number}.png" for number in range(7)]
    fill(tmp_path, dict.fromkeys(names, b"no image"))
    bad = [tmp_path / name for name in names]
    steps = []
    found, messages = find_unreadable(good + bad, 7, lambda *step: steps.append(step))
    assert found == set(bad)
    assert len(messages) == 5
    assert "b0.png" in messages[0]
    assert steps == [(8, 8)]
    ignore = lambda *step: None  # noqa: E731
    assert_rejected(
        lambda: find_unreadable(bad, None, ignore),
        "b0.png",
        "7 images cannot be read",
        "--on-error",
    )
    assert_rejected(lambda: find_unreadable(bad, 6, ignore), "more than 6 images", "b0.png")


def test_a_picture_that_is_too_thin_is_unreadable(tmp_path):
    thin, fine = pictures(tmp_path, thin=(505, 5), fine=(500, 5)).values()
    assert open_image(fine).size == (500, 5)
    assert_rejected(lambda: open_image(thin), "thin.png", "505 by 5 pixels are too thin")


def test_unreadable_images_are_left_out_where_errors_are_skipped(tmp_path, monkeypatch):
    raw = raw_with_pictures(tmp_path, i0=(5, 5), i2=(5, 5))
    fill(raw / "images", {"i1.png": b"no image"})
    weights = fill(tmp_path, {"w.safetensors": b""}) / "w.safetensors"
    encoder = lambda paths: np.array([[len(path.name), 1.0] for path in paths])  # noqa: E731
    monkeypatch.setattr(images, "require_extra", lambda module, extra: None)
    monkeypatch.setattr(images, "load_image_encoder", lambda source, device: (encoder, ()))
    options = PrepareConfig(image_encoder=weights, on_error="skip")
    prepared = prepare(raw, tmp_path / "out", options)
    assert prepared.left_out == {"images that cannot be read": 1}
    assert len(prepared.bad_lines) == 1
    assert "i1.png" in prepared.bad_lines[0]
    present = Dataset.open(tmp_path / "out").modality("image").present
    assert present.tolist() == [True, False, True, False, False, False]


TORCHVISION = """
import torch
from torchvision import part
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
torch.library.register_fake("torchvision::qnms")(lambda dets, scores, iou_threshold: dets)
"""


@pytest.mark.slow
def test_a_torchvision_whose_operators_do_not_load_is_mended(tmp_path):
    """As on Linux beside a CPU build of torch: the import describes operators it does not have."""
    package = tmp_path / "torchvision"
    fill(package, {"__init__.py": TORCHVISION, "part.py": "n_imports = 1\n"})
    code = (
        "from ld4mrec_cli.data.encoders.extras import mend_torchvision\n"
        "mend_torchvision(); mend_torchvision()\n"
        "import torchvision, torch\n"
        "assert torchvision.part.n_imports == 1\n"
        "assert torch.ops.torchvision.nms\n"
    )
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"],
        check=True,
    )
