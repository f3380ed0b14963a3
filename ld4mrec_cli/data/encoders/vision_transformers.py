"""Image encoder by transformers: a local directory of CLIP, SigLIP, DINOv2, ViT and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ld4mrec_cli.data.encoders.extras import import_extra
from ld4mrec_cli.data.encoders.image_model import ImageModel
from ld4mrec_cli.utils.errors import ConfigError, SourceError
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    from torch import Tensor, nn

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
CLASS_TOKENS = ("cls_token", "class_embedding", "class_token")
"""Last parts of the names that libraries give the parameter of a class token."""


def load_transformers_directory(directory: Path, model_type: str) -> ImageModel:
    """Load a vision model and its image processor, without network access or code of its own.

    Pictures are prepared with Pillow, so that the features do not depend on torchvision.

    Raises:
        ConfigError: the library does not have the model.
        SourceError: the directory cannot be loaded, or its weights are incomplete.
    """
    library = import_extra("transformers", "images")
    if model_type not in library.CONFIG_MAPPING:
        what = f"transformers has no model '{printable(model_type)}' of its own"
        hint = "Code that comes with a model is not run; choose another model"
        raise ConfigError(what, where=directory, hint=hint)
    options = {"local_files_only": True, "trust_remote_code": False}
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    try:
        processor = library.AutoImageProcessor.from_pretrained(
            str(directory), backend="pil", **options
        )
        model, loaded = library.AutoModel.from_pretrained(
            str(directory), use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as error:  # the library raises nearly anything on a damaged directory
        what = f"cannot be loaded as a model of images ({error})"
        raise SourceError(what, where=directory) from None
    missing = [name for name in sorted(loaded["missing_keys"]) if not _is_pooler(name)]
    if missing:
        raise SourceError(
            f"its weights are incomplete ('{missing[0]}' is missing)", where=directory
        )
    return ImageModel(
        module=model,
        prepare=lambda images: processor(images=list(images), return_tensors="pt"),
        features=_features(model, has_pooler=not loaded["missing_keys"]),
        packages=("torch", "transformers", "pillow"),
    )


def _is_pooler(name: str) -> bool:
    return "pooler" in name.split(".")


def _features(model: nn.Module, *, has_pooler: bool) -> Callable[[Mapping[str, Any]], Tensor]:
    """Choose what of a model's output is the vector of a picture.

    Models of images and texts give their shared space. Others give their pooled output, where its
    weights are there, else the class token, else the mean over the picture.
    """
    forward = getattr(model, "get_image_features", model)
    has_class_token = any(
        name.rsplit(".", 1)[-1] in CLASS_TOKENS for name, _ in model.named_parameters()
    )

    def features(batch: Mapping[str, Any]) -> Tensor:
        output = forward(**batch)
        pooled = getattr(output, "pooler_output", output)  # older releases give a tensor
        if pooled is None or not has_pooler:
            pooled = output.last_hidden_state
        if pooled.ndim == 4:  # (n, channels, height, width)
            return pooled.mean(dim=(2, 3))
        if pooled.ndim == 3:  # (n, tokens, dim)
            return pooled[:, 0] if has_class_token else pooled.mean(dim=1)
        return pooled

    return features
