from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from raw_files import assert_rejected, fill, snapshot
from safetensors.torch import save_file

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.encoders import base, extras, picture, timm_backbone
from ld4mrec_cli.data.encoders import image as images
from ld4mrec_cli.data.encoders import text as text_encoder
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, DeviceError, SourceError, UserError

N = 6
PAIRS = [(f"u{user}", f"i{item}") for user in range(N) for item in range(N)]
TABLE = "user,item\n" + "".join(f"{user},{item}\n" for user, item in PAIRS)
WORDS = ["red", "a blue hat", "", "a very long text", "  ", "hat"]
ITEMS = "item,title\n" + "".join(f"i{number},{word}\n" for number, word in enumerate(WORDS))
REVIEWS = [
    {"reviewerID": user, "asin": item, "overall": 5, "unixReviewTime": 1} for user, item in PAIRS
]
META = [{"asin": f"i{number}", "title": word} for number, word in enumerate(WORDS)]
LAYOUTS = {
    "table": {"interactions.csv": TABLE, "items.csv": ITEMS},
    "mmrec": {
        "x.inter": "userID\titemID\n" + "".join(f"{user}\t{item}\n" for user, item in PAIRS),
        "items.tsv": ITEMS.replace(",", "\t").replace("item\t", "itemID\t"),
    },
    "amazon": {"x.json.gz": REVIEWS, "meta_x.json.gz": META},
}
OWN = [
    {"type": "sentence_transformers.models.Transformer"},
    {"type": "sentence_transformers.models.Dense"},
]


def text_model(
    directory: Path, modules: object = OWN, weights: tuple[str, ...] = ("model.safetensors",)
) -> Path:
    for name in weights:
        fill((directory / name).parent, {Path(name).name: b"weights"})
    return fill(directory, {"modules.json": json.dumps(modules), ".hidden": "x"})


def png(color: str | tuple[int, ...] = "red", mode: str = "RGB", suffix: str = ".png") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (5, 7), color).save(
        buffer, {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
    )
    return buffer.getvalue()


def with_images(raw: Path, files: dict[str, bytes]) -> Path:
    fill(raw / "images", files)
    return raw


@pytest.fixture
def weights(tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def text_library(monkeypatch):
    """A stand-in for sentence-transformers: a text becomes its length and its number of words."""
    seen = SimpleNamespace(options={}, batches=[], offline=None)

    class SentenceTransformer:
        def __init__(self, path, **options):
            seen.options = {"path": path, **options}
            seen.offline = os.environ["HF_HUB_OFFLINE"], os.environ["TRANSFORMERS_OFFLINE"]

        def float(self):
            return self

        def eval(self):
            return self

        def encode(self, texts, **options):
            seen.batches.append(texts)
            return np.array([[len(text), len(text.split())] for text in texts])

    for name in extras.OFFLINE_ENVIRONMENT:
        monkeypatch.setenv(name, "0")
    library = ModuleType("sentence_transformers")
    library.__spec__ = ModuleSpec("sentence_transformers", None)
    library.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    return seen


@pytest.fixture
def image_backbone(monkeypatch):
    """A stand-in for a timm backbone: an image becomes its mean color."""
    asked = []

    def load(source, device):
        asked.append((source.path, source.name, device))

        def encode(paths):
            return np.stack([np.asarray(picture.open_image(p), float).mean((0, 1)) for p in paths])

        return encode, ("torch",)

    monkeypatch.setattr(images, "require_extra", lambda module, extra: None)
    monkeypatch.setattr(images, "load_image_encoder", load)
    return asked


def without(monkeypatch, module: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == module else real(name, *a)
    )


def test_without_encoders_nothing_changes(raw, out):
    schema = prepare(raw(LAYOUTS["table"]), out, PrepareConfig(text_dim=2)).schema
    assert "encoders" not in schema.provenance
    assert schema.provenance["options"]["text_encoder"] == "tfidf"


@pytest.mark.slow
def test_preparing_without_encoders_imports_no_optional_package(raw, out):
    code = (
        "import sys; from pathlib import Path\n"
        "from ld4mrec_cli.settings.data import PrepareConfig\n"
        "from ld4mrec_cli.data.prepare import prepare\n"
        "prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareConfig())\n"
        "optional = {'torch', 'timm', 'sentence_transformers', 'PIL'} & set(sys.modules)\n"
        "assert not optional, optional"
    )
    subprocess.run([sys.executable, "-c", code, str(raw(LAYOUTS["table"])), str(out)], check=True)


def test_a_missing_extra_is_named_before_anything_is_read(monkeypatch, raw, out, tmp_path, weights):
    directory = with_images(raw({"interactions.csv": "user,item\nbroken\n"}), {"i0.png": png()})
    model = text_model(tmp_path / "model")
    for module, extra, options in (
        ("sentence_transformers", "text", {"text_encoder": str(model)}),
        ("timm", "images", {"image_encoder": weights}),
    ):
        without(monkeypatch, module)
        message = assert_rejected(
            lambda options=options: prepare(directory, out, PrepareConfig(**options))
        )
        assert message == f"needs the extra: pip install 'ld4mrec[{extra}]'"
    assert not out.exists()


def test_a_package_that_does_not_import_is_one_line(monkeypatch, tmp_path):
    fill(tmp_path, {"broken_extra.py": "raise RuntimeError('operator nms\\ndoes not exist')\n"})
    monkeypatch.syspath_prepend(tmp_path)
    assert_rejected(
        lambda: extras.import_extra("broken_extra", "images"),
        "operator nms does not exist",
        "[images]",
    )


@pytest.mark.parametrize(
    ("made", "parts"),
    [
        (None, ("no such directory", "not downloaded", "tfidf")),
        ({"notes.txt": ""}, ("not a model directory", "no modules.json, no config.json")),
        ({"config.json": "{}"}, ("not a model directory", "config.json has no model_type")),
        ({"config.json": "{"}, ("config.json: ", "damaged")),
        ({"config.json": '{"model_type": "bert"}'}, ("not .safetensors", "safe_serialization")),
        ({"modules.json": "{"}, ("modules.json", "damaged")),
        ({"modules.json": "[1]"}, ("modules.json", "damaged")),
        (
            ([*OWN, {"type": "modeling.Own"}], ("model.safetensors",)),
            ("code of its own, 'modeling.Own'",),
        ),
        ((OWN, ()), ("not .safetensors", "safe_serialization")),
        ((OWN, ("pytorch_model.bin",)), ("not .safetensors",)),
        ((OWN, ("model.safetensors", "2_Dense/pytorch_model.bin")), ("not .safetensors",)),
    ],
)
def test_a_model_that_is_not_local_or_not_safe_is_refused(
    raw, out, tmp_path, text_library, made, parts
):
    path = tmp_path / "owner" / "model"
    if isinstance(made, dict):
        fill(path, made)
    elif made:
        text_model(path, *made)
    options = PrepareConfig(text_encoder=str(path))
    with pytest.raises(ConfigError):
        prepare(raw(LAYOUTS["table"]), out, options)
    assert_rejected(lambda: prepare(tmp_path / "raw", out, options), "owner/model", *parts)
    assert not text_library.options


def test_pickled_copies_beside_safetensors_do_no_harm(tmp_path, text_library):
    model = text_model(tmp_path / "model", weights=("model.safetensors", "pytorch_model.bin"))
    text_encoder.check_text_encoder(PrepareConfig(text_encoder=str(model)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_texts_are_encoded_offline_and_aligned_in_every_layout(
    raw, out, tmp_path, text_library, layout
):
    model = text_model(tmp_path / "model")
    prepare(raw(LAYOUTS[layout]), out, PrepareConfig(text_encoder=str(model), encoder_device="cpu"))
    text = Dataset.open(out).modality("text")
    own = [[3, 1], [10, 3], [16, 4], [3, 1]]
    assert text.present.tolist() == [True, True, False, True, False, True]
    assert text.values[text.present].tolist() == own
    assert text.values[~text.present].tolist() == [np.mean(own, axis=0).tolist()] * 2
    assert text_library.offline == ("1", "1")
    assert text_library.options == {
        "path": str(model),
        "device": "cpu",
        "local_files_only": True,
        "trust_remote_code": False,
        "model_kwargs": {"use_safetensors": True},
    }


def test_texts_go_in_batches_by_length_and_progress_is_told(
    monkeypatch, raw, out, tmp_path, text_library
):
    monkeypatch.setattr(text_encoder, "TEXT_BATCH_SIZE", 3)
    told = []
    options = PrepareConfig(text_encoder=str(text_model(tmp_path / "model")))
    prepare(raw(LAYOUTS["table"]), out, options, on_encoded=lambda *progress: told.append(progress))
    assert text_library.batches == [["a very long text", "a blue hat", "red"], ["hat"]]
    assert told == [("encoding text", 3, 4), ("encoding text", 4, 4)]


def test_the_provenance_names_the_model_files_and_twice_is_the_same(
    raw, out, tmp_path, text_library
):
    model = text_model(tmp_path / "model", weights=("model.safetensors", "1_Pooling/config.json"))
    options = PrepareConfig(text_encoder=str(model), encoder_device="cpu")
    record = prepare(raw(LAYOUTS["table"]), out, options).schema.provenance["encoders"]["text"]
    hashes = {name: value for name, value in snapshot(model).items() if name != ".hidden"}
    assert {file["name"]: file["sha256"] for file in record["files"]} == hashes
    assert {
        "name": "model.safetensors",
        "bytes": 7,
        "sha256": hashes["model.safetensors"],
    } in record["files"]
    assert record["device"] == "cpu"
    assert record["packages"]["torch"] == importlib.metadata.version("torch")
    before = snapshot(out)
    prepare(tmp_path / "raw", out, options, overwrite=True)
    assert snapshot(out) == before


def test_an_encoder_is_not_silently_passed_over(
    raw, out, tmp_path, text_library, image_backbone, weights
):
    text, image = {"text_encoder": str(text_model(tmp_path / "model"))}, {"image_encoder": weights}
    ready = np.ones((N, 2), np.float32)
    directory = raw({**LAYOUTS["table"], "text_feat.npy": ready, "image_feat.npy": ready})
    assert_rejected(
        lambda: prepare(directory, out, PrepareConfig(**text)),
        "text_feat.npy",
        "prepare.text_encoder",
    )
    assert_rejected(
        lambda: prepare(directory, out, PrepareConfig(**image)), "images", "no image", "B0001.jpg"
    )
    with_images(directory, {"i0.png": png()})
    assert_rejected(
        lambda: prepare(directory, out, PrepareConfig(**image)),
        "image_feat.npy",
        "prepare.image_encoder",
    )
    plain = fill(tmp_path / "plain", {"interactions.csv": TABLE})
    assert_rejected(
        lambda: prepare(plain, out, PrepareConfig(**text)), "no text", "prepare.text_fields"
    )
    with_images(plain, {"other.png": png()})
    assert_rejected(
        lambda: prepare(plain, out, PrepareConfig(**image)),
        "no image of any item",
        "i0.jpg",
    )
    assert not out.exists()


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(SourceError, match="text encoder gives NaN"):
        base.encode_in_batches("text", ["a"], lambda texts: np.array([[np.nan]]), 1, None)


def test_the_device_is_checked_before_anything_is_read(
    monkeypatch, raw, out, tmp_path, weights, text_library, image_backbone
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [base.resolve_encoder_device(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(DeviceError, match="encoder_device is cuda"):
        base.resolve_encoder_device("cuda")
    model = text_model(tmp_path / "model")
    broken = with_images(raw({"interactions.csv": "user,item\nbroken\n"}), {"i0.png": png()})
    for asked in ({"text_encoder": str(model)}, {"image_encoder": weights}):
        options = PrepareConfig(encoder_device="cuda", **asked)
        assert_rejected(
            lambda options=options: prepare(broken, out, options), "no usable CUDA device"
        )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [base.resolve_encoder_device(name) for name in ("auto", "cpu", "cuda")] == [
        "cuda",
        "cpu",
        "cuda",
    ]


def test_images_are_found_by_item_id(tmp_path):
    names = [
        "a.jpg",
        "b.JPEG",
        "c.png",
        "d.webp",
        "v1.2.png",
        "x%2Fy%25.jpg",
        "caf%C3%A9.png",
        "plain é.png",
    ]
    raw = with_images(tmp_path, dict.fromkeys([*names, ".a.jpg", "notes.txt", "e.gif"], b""))
    (tmp_path / "images" / "folder.png").mkdir()
    found = picture.map_items_to_images(picture.list_images(raw))
    assert {item: path.name for item, path in found.items()} == dict(
        zip(["a", "b", "c", "d", "v1.2", "x/y%", "café", "plain é"], names, strict=True)
    )
    assert picture.list_images(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["a.jpg", "a.png"], ("a.png", "second image, a.jpg")),
        (["%E9.jpg"], ("%E9.jpg", "percent-encoded", "%25")),
    ],
)
def test_image_names_that_fit_no_single_item_are_refused(tmp_path, names, parts):
    raw = with_images(tmp_path, dict.fromkeys(names, b""))
    assert_rejected(lambda: picture.map_items_to_images(picture.list_images(raw)), *parts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_are_encoded_and_aligned_in_every_layout(raw, out, image_backbone, weights, layout):
    colors = {"i5.png": (50, 0, 0), "i0.png": (10, 20, 30), "stranger.png": (9, 9, 9)}
    directory = with_images(
        raw(LAYOUTS[layout]), {name: png(color) for name, color in colors.items()}
    )
    options = PrepareConfig(image_encoder=weights, image_backbone="resnet18", encoder_device="cpu")
    told = prepare(directory, out, options)
    image = Dataset.open(out).modality("image")
    assert image.present.tolist() == [True, False, False, False, False, True]
    assert image.values.tolist() == [[10, 20, 30], *[[30, 10, 15]] * 4, [50, 0, 0]]
    assert told.left_out == {"images of items that are not kept": 1}
    assert image_backbone == [(weights, "resnet18", "cpu")]


def test_the_provenance_tells_of_weights_and_images(raw, out, image_backbone, weights):
    contents = {"i1.jpg": png(suffix=".jpg"), "i0.webp": png(suffix=".webp")}
    options = PrepareConfig(image_encoder=weights)
    told = prepare(
        with_images(raw(LAYOUTS["table"]), contents),
        out,
        options,
        on_encoded=lambda *progress: None,
    )
    record = told.schema.provenance["encoders"]["image"]
    assert record["files"] == [base.describe_file(weights, "weights.safetensors")]
    assert record["backbone"] == "resnet50"
    lines = [f"{name}\0{hashlib.sha256(contents[name]).hexdigest()}\n" for name in sorted(contents)]
    assert record["images"] == {
        "count": 2,
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }


def test_images_without_an_encoder_are_left_out_with_a_note(raw, out):
    directory = with_images(raw(LAYOUTS["table"]), {"i0.png": b"not looked at", "i1.png": b""})
    told = prepare(directory, out, PrepareConfig())
    assert told.left_out == {"images (prepare.image_encoder would encode them)": 2}
    assert "image" not in told.schema.modalities


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", png()[:48], png(suffix=".webp")[:40], b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    ids=["empty", "text", "cut PNG", "cut WebP", "another format"],
)
def test_a_broken_image_is_named_and_nothing_is_written(raw, out, image_backbone, weights, content):
    directory = with_images(raw(LAYOUTS["table"]), {"i0.png": png(), "i3.png": content})
    options = PrepareConfig(image_encoder=weights)
    message = assert_rejected(
        lambda: prepare(directory, out, options), "i3.png: the image cannot be read"
    )
    assert message.count("i3.png") == 1
    assert not out.exists()


def test_an_image_of_excessive_size_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    fill(tmp_path, {"big.png": png()})
    assert_rejected(
        lambda: picture.open_image(tmp_path / "big.png"),
        "big.png: the image cannot be read",
        "exceeds",
    )


def test_images_are_upright_on_white_and_rgb(tmp_path):
    fill(tmp_path, {"clear.png": png((9, 9, 9, 0), "RGBA"), "gray.png": png(7, "L")})
    turned = Image.new("RGB", (5, 7))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    clear, gray, upright = (
        picture.open_image(tmp_path / name) for name in ("clear.png", "gray.png", "turned.jpg")
    )
    assert clear.getpixel((0, 0)) == (255, 255, 255)
    assert gray.getpixel((0, 0)) == (7, 7, 7)
    assert upright.size == (7, 5)


@pytest.mark.parametrize(
    ("name", "what"), [("none.pth", "no such file"), ("weights.bin", "not a .safetensors")]
)
def test_weights_of_another_kind_are_refused(raw, out, tmp_path, name, what):
    fill(tmp_path, {"weights.bin": b""})
    options = PrepareConfig(image_encoder=tmp_path / name)
    assert_rejected(
        lambda: prepare(raw(LAYOUTS["table"]), out, options), name, what, "not downloaded"
    )


class Tiny(torch.nn.Module):
    """A backbone without its classifier."""

    pretrained_cfg = {"classifier": "head"}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(2, 3)


def tiny_timm(state) -> SimpleNamespace:
    def load_state_dict(path, device, weights_only):
        assert weights_only
        if isinstance(state, Exception):
            raise state
        return state

    def create_model(name, pretrained, num_classes):
        assert (pretrained, num_classes) == (False, 0)
        if "." in name:
            raise RuntimeError("Invalid pretrained tag")
        return Tiny()

    models = SimpleNamespace(load_state_dict=load_state_dict)
    return SimpleNamespace(list_models=lambda: ["tiny"], create_model=create_model, models=models)


def load_tiny(state, backbone: str, weights: Path) -> torch.nn.Module:
    timm = tiny_timm(state)
    return timm_backbone.load_backbone(timm, backbone, weights, "prepare.image_backbone", "")


def test_a_backbone_takes_all_weights_but_those_of_its_classifier(tmp_path):
    state = {
        "body.weight": torch.ones(3, 2),
        "body.bias": torch.ones(3),
        "head.weight": torch.ones(9),
    }
    model = load_tiny(state, "tiny", tmp_path)
    assert model.body.weight.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    ("backbone", "state", "part"),
    [
        ("tinny", {}, "Did you mean 'tiny'?"),
        ("hf-hub:owner/tiny", {}, "unknown model 'hf-hub:owner/tiny'"),
        ("tiny.tag", {}, "'tiny.tag' cannot be created (Invalid pretrained tag)"),
        ("tiny", {"body.weight": torch.ones(3, 2)}, "not those of 'tiny' ('body.bias' is missing)"),
        (
            "tiny",
            {**Tiny().state_dict(), "header.w": torch.ones(1)},
            "'header.w' is not in the model",
        ),
        (
            "tiny",
            {"body.weight": torch.ones(3, 9), "body.bias": torch.ones(3)},
            "size mismatch for body.weight",
        ),
        (
            "tiny",
            ValueError("bad header. Do this\nand that"),
            "cannot be read as weights (bad header)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, backbone, state, part):
    assert_rejected(lambda: load_tiny(state, backbone, tmp_path), part)


def test_a_real_text_model_is_loaded_and_repeats_itself(raw, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    tokenizers = pytest.importorskip("tokenizers")
    from sentence_transformers.models import StaticEmbedding

    words = tokenizers.models.WordLevel(
        {"[UNK]": 0, "red": 1, "blue": 2, "hat": 3}, unk_token="[UNK]"
    )
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    library.SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu"
    ).save(str(tmp_path / "model"), create_model_card=False)
    options = PrepareConfig(text_encoder=str(tmp_path / "model"), encoder_device="cpu")
    for name in ("first", "second"):
        prepare(raw(LAYOUTS["table"]), tmp_path / name / "data", options)
    assert snapshot(tmp_path / "first") == snapshot(tmp_path / "second")
    text = Dataset.open(tmp_path / "first" / "data").modality("text")
    assert text.present.tolist() == [True, True, False, True, False, True]
    assert not np.allclose(text.values[0], text.values[5])


def test_a_real_backbone_gives_penultimate_features_from_safetensors_and_pth(raw, tmp_path):
    try:
        timm = extras.import_extra("timm", "images")
    except UserError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    state = timm.create_model("resnet10t", pretrained=False, num_classes=3).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    directory = with_images(
        raw(LAYOUTS["table"]), {"i0.png": png(), "i1.jpg": png("blue", suffix=".jpg")}
    )
    values = []
    for name in ("w.safetensors", "w.pth"):
        options = PrepareConfig(
            image_encoder=tmp_path / name, image_backbone="resnet10t", encoder_device="cpu"
        )
        prepare(directory, tmp_path / "out", options, overwrite=True)
        values.append(Dataset.open(tmp_path / "out").modality("image").values)
    assert values[0].shape == (N, 512)
    assert (values[0] == values[1]).all()
    assert not np.allclose(values[0][0], values[0][1])
    torch.save(SimpleNamespace(w=1), tmp_path / "w.pth")
    assert_rejected(
        lambda: prepare(directory, tmp_path / "no", options), "w.pth: cannot be read as weights"
    )
