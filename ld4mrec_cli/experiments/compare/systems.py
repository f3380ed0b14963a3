"""The systems of a comparison: configurations, or models with their defaults, by label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ld4mrec_cli.config import Config, load_config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.errors import ConfigError, DatasetError, UserError, nearest

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Labels name directories."""
LABEL_HINT = "A label starts with a letter or digit and goes on with these, '.', '_' and '-'"

SET_ELSEWHERE = {
    "model_name": "Name each model with --model, or in its own --config",
    "training.seed": "Give the seeds with --seeds",
}
"""Keys that an override shared by all systems cannot set, and what sets them."""


def uses_seed(model_name: str) -> bool:
    """Whether two seeds give this model two results; where not, it is trained once."""
    return not MODELS[model_name].deterministic


@dataclass(frozen=True)
class System:
    """One of those that are compared."""

    label: str
    config: Config
    source: str | None
    """The configuration file, None for a model with its defaults."""

    @property
    def uses_seed(self) -> bool:
        """Whether it is trained once per seed."""
        return uses_seed(self.config.model_name)

    def seeds(self, wanted: Sequence[int]) -> Sequence[int]:
        """The seeds that it is trained with."""
        return wanted if self.uses_seed else wanted[:1]

    def with_seed(self, seed: int) -> Config:
        """Its configuration for one seed."""
        return replace_settings(self.config, "training", seed=seed)


def read_systems(
    configs: Sequence[str],
    models: Sequence[str],
    overrides: Sequence[str],
    flags: Mapping[str, Any],
    minimum: int = 2,
) -> list[System]:
    """Read the systems of a command line.

    Args:
        configs: ``FILE`` or ``LABEL=FILE``.
        models: names of models, trained with their defaults.
        overrides: ``section.key=value`` for all of them.
        flags: value by ``section.key`` for all of them; None is not given.
        minimum: how many must be named.

    Raises:
        ConfigError: a file, a key or a value does not fit.
        UserError: fewer than ``minimum`` systems, an unknown model, or two under one label.
    """
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in SET_ELSEWHERE:
            raise ConfigError(
                f"--set {key} would be the same for all systems", hint=SET_ELSEWHERE[key]
            )
    named = [_split_label(text) for text in configs]
    loaded = [load_config(path, overrides, flags) for _, path in named]
    for name in models:
        if name not in MODELS:
            raise UserError(f"unknown model '{name}'", hint=nearest(name, MODELS))
        loaded.append(load_config(None, overrides, {**flags, "model_name": name}))
    if len(loaded) < minimum:
        hint = "Name another with --config FILE or --model NAME"
        raise UserError(
            f"a comparison needs two systems, and {len(loaded) or 'none'} is named", hint=hint
        )
    labels = _labels(named, loaded)
    sources = [str(path) for _, path in named] + [None] * len(models)
    return [System(*entry) for entry in zip(labels, loaded, sources, strict=True)]


def _split_label(text: str) -> tuple[str | None, Path]:
    """``LABEL=FILE`` or ``FILE``; a file of just that name wins."""
    label, equals, path = text.partition("=")
    if not equals or Path(text).is_file():
        return None, Path(text)
    if not LABEL.fullmatch(label):
        raise UserError(f"--config '{text}': '{label}' is no label", hint=LABEL_HINT)
    return label, Path(path)


def _labels(named: Sequence[tuple[str | None, Path]], configs: Sequence[Config]) -> list[str]:
    """Labels of the command line, else model names; with the file name if several share one."""
    given = [label for label, _ in named] + [None] * (len(configs) - len(named))
    sharing = Counter(
        config.model_name for label, config in zip(given, configs, strict=True) if label is None
    )
    labels = []
    for number, (label, config) in enumerate(zip(given, configs, strict=True)):
        own = label or config.model_name
        if label is None and sharing[config.model_name] > 1 and number < len(named):
            stem = re.sub(r"[^A-Za-z0-9._-]", "-", named[number][1].stem)
            own = stem if stem.startswith((f"{own}-", f"{own}_")) else f"{own}-{stem}"
        labels.append(own)
    check_distinct(labels)
    return labels


def check_distinct(labels: Iterable[str]) -> None:
    """Raise UserError where two systems have one label."""
    # Some file systems do not tell Ease from ease.
    for label, count in Counter(label.lower() for label in labels).items():
        if count > 1:
            hint = "Give each a label of its own: --config LABEL=FILE"
            raise UserError(f"{count} systems are labeled '{label}'", hint=hint)


def shared_dataset(systems: Sequence[System]) -> Dataset:
    """Open the common dataset of all systems; a system without one takes that of the others.

    Raises:
        ConfigError: none of them names a dataset.
        DatasetError: one is missing, or two of them differ.
    """
    datasets: dict[Path, tuple[str, Dataset]] = {}
    for system in systems:
        path = system.config.data.path
        if path is not None and path not in datasets:
            datasets[path] = (system.label, Dataset.open(path))
    if not datasets:
        raise ConfigError("no dataset is named", hint="Give --data DIR")
    (first, dataset), *others = datasets.values()
    for label, other in others:
        if other.hash != dataset.hash:
            message = (
                f"{first} is on {dataset.directory} and {label} on {other.directory}, "
                "which are not the same data"
            )
            raise DatasetError(message, hint="Give --data DIR for all of them")
    return dataset


def shared_evaluation(systems: Sequence[System]) -> EvaluationConfig:
    """Cutoffs and mask of all configuration files; models without a file take them.

    Raises:
        ConfigError: two of them differ.
    """
    sources = [system for system in systems if system.source] or list(systems)
    first = sources[0]
    for key, hint in (
        ("k", "Give --k for all of them"),
        ("mask", "Give --set evaluation.mask=train for all of them"),
    ):
        value = getattr(first.config.evaluation, key)
        for other in sources[1:]:
            other_value = getattr(other.config.evaluation, key)
            if other_value != value:
                message = (
                    f"evaluation.{key} is {value!r} for {first.label} "
                    f"and {other_value!r} for {other.label}"
                )
                raise ConfigError(message, hint=hint)
    return first.config.evaluation


def replace_settings(config: Config, section: str, **values: Any) -> Config:
    """``config`` with some values of a section replaced; the values must be valid ones."""
    part = getattr(config, section).model_copy(update=values)
    return config.model_copy(update={section: part})
