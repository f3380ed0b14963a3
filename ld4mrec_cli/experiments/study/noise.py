"""`study noise`: what noise in the training interactions costs each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ld4mrec_cli.data.noise.noise_types import NOISE_TYPES
from ld4mrec_cli.experiments.compare.systems import System
from ld4mrec_cli.experiments.study.derived import NoisyTraining
from ld4mrec_cli.experiments.study.plan import Variant, with_settings
from ld4mrec_cli.experiments.study.request import Request
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils.errors import UserError

LEVELS = (0.05, 0.1, 0.2, 0.3)
QUICK_LEVELS = (0.1, 0.3)


def plan_noise(request: Request) -> list[Variant]:
    """Every system on the dataset and on every noisy one.

    LD4MRec with soft reconstruction brings itself without it, which a claim of the paper is about.
    Systems that need features are left out where there are none.

    Raises:
        UserError: an unknown noise type, a level that is no share, or no system is left.
    """
    levels = request.levels or (QUICK_LEVELS if request.is_quick else LEVELS)
    for level in levels:
        if not 0.0 < level <= 1.0:
            raise UserError(f"--levels {level:g} is not between 0 and 1", hint="Give it as 0.1,0.3")
    types = [name for name in _types(request) if _has_content(request, name)]
    variants = []
    for system in _with_hard_labels(request):
        clean = {"system": system.label, "type": None, "level": 0.0}
        variants.append(Variant(system, f"{system.label}, clean", clean))
        for name in types:
            for level in levels:
                noisy = NoisyTraining(name, level)
                own = System(f"{system.label}-{noisy.name}", system.config, system.source)
                facts = {"system": system.label, "type": name, "level": level}
                title = f"{system.label}, {name} {level:.0%}"
                variants.append(Variant(own, title, facts, derivation=noisy))
    if not variants:
        raise UserError("no system is left that the dataset has features for")
    return variants


def _types(request: Request) -> Sequence[str]:
    for name in request.types:
        if name not in NOISE_TYPES:
            known = ", ".join(NOISE_TYPES)
            raise UserError(f"unknown noise type '{name}'", hint=f"Known are {known}")
    return request.types or (("random", "similar") if request.is_quick else tuple(NOISE_TYPES))


def _has_content(request: Request, name: str) -> bool:
    return not NOISE_TYPES[name].needs_features or bool(request.dataset.modality_names())


def _with_hard_labels(request: Request) -> Iterator[System]:
    for system in request.systems:
        config = system.config
        if MODELS[config.model_name].needs_features and not request.signals(config):
            continue
        yield system
        if config.model_name == "ld4mrec" and config.diffusion.soft_reconstruction:
            hard = with_settings(config, {"diffusion.soft_reconstruction": False})
            yield System(f"{system.label}-hard", hard, None)
