"""An image model of any library, and the encoder that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ld4mrec_cli.data.encoders.base import Encode
from ld4mrec_cli.data.encoders.picture import open_image
from ld4mrec_cli.utils.errors import SourceError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

PROBE_SIZE = (64, 48)
"""Width and height of the picture that a model is tried with."""


@dataclass(frozen=True)
class ImageModel:
    """A model, and how it takes RGB pictures and gives one vector for each."""

    module: nn.Module
    prepare: Callable[[Sequence[Image]], Mapping[str, Any]]
    """Turns pictures into the tensors of a batch."""
    features: Callable[[Mapping[str, Any]], Tensor]
    """Turns a batch into ``(n, dim)`` features."""
    packages: tuple[str, ...]
    """Packages whose version matters for the result."""


def make_encoder(model: ImageModel, weights: Path, device: str) -> Encode[Path]:
    """Turn a model into an encoder of image files. It is tried with one picture.

    Raises:
        SourceError: model and preparation of the pictures do not fit together.
    """
    import torch
    from PIL import Image

    model.module.float().to(device).eval()

    def encode(images: Sequence[Image.Image]) -> np.ndarray:
        batch = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in model.prepare(images).items()
        }
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False),
        ):
            return model.features(batch).float().cpu().numpy()

    try:
        shape = encode([Image.new("RGB", PROBE_SIZE)]).shape
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        what = f"the model and the pictures prepared for it do not fit together ({error})"
        raise SourceError(what, where=weights) from None
    if len(shape) != 2:
        raise SourceError(f"does not give one vector for a picture, but {shape}", where=weights)
    return lambda paths: encode([open_image(path) for path in paths])
