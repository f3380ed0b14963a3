"""Image encoder by timm: a file of weights, or a model directory as timm saves it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ld4mrec_cli.data.encoders.extras import import_extra
from ld4mrec_cli.data.encoders.image_model import ImageModel
from ld4mrec_cli.data.encoders.model_directory import CONFIG_FILE, read_model_config
from ld4mrec_cli.utils.errors import ConfigError, SourceError, nearest

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_FILE = "model.safetensors"
PREPROCESSING = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
"""Keys of ``pretrained_cfg`` that say how pictures are prepared for the weights."""
RESERVED_ARGUMENTS = (
    "cache_dir",
    "checkpoint_path",
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
)


def load_timm_file(weights: Path, backbone: str) -> ImageModel:
    """Load a timm backbone without its classifier, with weights from a file.

    Raises:
        ConfigError: the backbone is unknown, or the weights belong to another one.
        SourceError: the weights cannot be read.
    """
    timm = import_extra("timm", "images")
    hint = "prepare.image_backbone must name the model of these weights"
    model = load_backbone(timm, backbone, weights, "prepare.image_backbone", hint)
    return _with_preprocessing(timm, model, {})


def load_timm_directory(directory: Path) -> ImageModel:
    """Load a directory with ``config.json`` and ``model.safetensors``, as timm saves it.

    Raises:
        ConfigError: the model is unknown, or the weights belong to another one.
        SourceError: the weights cannot be read, or the configuration is malformed.
    """
    timm = import_extra("timm", "images")
    config = read_model_config(directory, "prepare.image_encoder")
    path = directory / CONFIG_FILE
    own, arguments = _read_mapping(config, "pretrained_cfg", path), read_arguments(config, path)
    hint = f"{CONFIG_FILE} must name the model of these weights"
    backbone, weights = str(config["architecture"]), directory / WEIGHTS_FILE
    model = load_backbone(timm, backbone, weights, f"{path}: architecture", hint, arguments)
    preprocessing = {key: own[key] for key in PREPROCESSING if key in own}
    try:
        return _with_preprocessing(timm, model, preprocessing)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SourceError(f"pretrained_cfg is malformed ({error})", where=path) from None


def _read_mapping(config: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise SourceError(f"{key} is not a mapping", where=path)
    return value


def read_arguments(config: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Return ``model_args``, with which the library builds the model of a directory.

    Raises:
        SourceError: they are malformed, or say where weights come from.
    """
    arguments = _read_mapping(config, "model_args", path)
    for name in arguments:
        if name in RESERVED_ARGUMENTS:
            raise SourceError(f"model_args must not set '{name}'", where=path)
    return arguments


def _with_preprocessing(timm: ModuleType, model: nn.Module, own: Mapping[str, Any]) -> ImageModel:
    """Put the backbone and the preparation of its pictures together."""
    import torch

    of_backbone: Any = model.pretrained_cfg
    settings = timm.data.resolve_data_config(pretrained_cfg={**of_backbone, **own})
    transform = timm.data.create_transform(**settings, is_training=False)
    return ImageModel(
        module=model,
        prepare=lambda images: {"x": torch.stack([transform(image) for image in images])},
        features=lambda batch: model(batch["x"]),
        packages=("torch", "torchvision", "timm", "pillow"),
    )


def load_backbone(
    timm: ModuleType,
    backbone: str,
    weights: Path,
    source: str,
    hint: str,
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Create the backbone and load all of its weights.

    Args:
        timm: the library.
        backbone: name of the model.
        weights: file of its weights.
        source: the setting or file that names the model, for messages.
        hint: what to do where model and weights do not fit.
        arguments: further arguments of the model's constructor.

    Raises:
        ConfigError: the backbone is unknown, or the weights belong to another one.
        SourceError: the weights cannot be read.
    """
    models = timm.list_models()
    # This check also refuses names that timm would look up in a hub.
    if backbone.split(".", maxsplit=1)[0] not in models:
        raise ConfigError(f"{source}: unknown model '{backbone}'", hint=nearest(backbone, models))
    try:
        model = timm.create_model(backbone, pretrained=False, num_classes=0, **(arguments or {}))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(f"{source}: '{backbone}' cannot be created ({error})") from None
    mismatch = _load_weights(model, _read_weights(timm, weights))
    if mismatch:
        what = f"the weights are not those of '{backbone}' ({mismatch})"
        raise ConfigError(what, where=weights, hint=hint)
    return model


def _read_weights(timm: ModuleType, path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; pickled objects are refused
            return timm.models.load_state_dict(str(path), device="cpu", weights_only=True)
    except Exception as error:  # readers of damaged files raise nearly anything
        reason = re.split(r"\n|\. ", str(error).strip(), maxsplit=1)[0]
        hint = "Plain weights are needed, best as .safetensors"
        raise SourceError(f"cannot be read as weights ({reason})", where=path, hint=hint) from None


def _load_weights(model: Any, state: dict[str, Any]) -> str | None:
    """Load weights into the model; return the mismatch, or None. Classifier weights are ignored."""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a header line, then one line per shape that differs
        return re.sub(r"\s+", " ", str(error).strip().split("\n")[-1]).strip(" .")
    classifier = model.pretrained_cfg.get("classifier") or ()
    modules = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    prefixes = tuple(f"{module}." for module in modules)
    unexpected = [name for name in unexpected if not name.startswith(prefixes)]
    if missing:
        return f"'{missing[0]}' is missing"
    return f"'{unexpected[0]}' is not in the model" if unexpected else None
