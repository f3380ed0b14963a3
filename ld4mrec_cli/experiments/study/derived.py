"""Datasets that a study makes of its dataset: with noise, other content, or fewer items."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ld4mrec_cli.data.dataset import (
    SCHEMA_FILE,
    Dataset,
    ModalityInfo,
    hash_files,
    is_replaceable,
)
from ld4mrec_cli.data.features import Modality, impute
from ld4mrec_cli.data.hold_out import hold_out_items
from ld4mrec_cli.data.noise.inject import inject_noise
from ld4mrec_cli.experiments.cold_items import ColdItems, draw_samples
from ld4mrec_cli.utils.errors import RunError
from ld4mrec_cli.utils.files import atomic_directory, write_json


class Derivation(Protocol):
    """Makes a dataset of another one; equal seeds make equal data."""

    @property
    def name(self) -> str:
        """Names its directory, and says what was done."""

    def write(self, source: Dataset, out: Path, seed: int) -> None:
        """Write the dataset into the new directory ``out``, atomically."""


@dataclass(frozen=True)
class NoisyTraining:
    """Noise in the training interactions; validation and test stay."""

    noise_type: str
    ratio: float

    @property
    def name(self) -> str:
        """See :class:`Derivation`."""
        return f"{self.noise_type}-{round(100 * self.ratio)}"

    def write(self, source: Dataset, out: Path, seed: int) -> None:
        """See :class:`Derivation`."""
        inject_noise(source.directory, out, self.noise_type, self.ratio, seed)


@dataclass(frozen=True)
class OtherContent:
    """Features of some items exchanged among them (``shuffled``), or taken away (``missing``)."""

    kind: str
    share: float
    """Share of the items."""
    modalities: Sequence[str]

    @property
    def name(self) -> str:
        """See :class:`Derivation`."""
        return f"{self.kind}-{round(100 * self.share)}"

    def write(self, source: Dataset, out: Path, seed: int) -> None:
        """See :class:`Derivation`."""
        chosen = np.random.default_rng(seed).permutation(source.shape[1])
        chosen = chosen[: round(self.share * source.shape[1])]
        with atomic_directory(out, overwrite=False, is_replaceable=is_replaceable) as temporary:
            for name in source.schema.files:
                (temporary / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(source.path(name), temporary / name)
            infos = dict(source.schema.modalities)
            for name in self.modalities:
                features = self._change(source.modality(name), chosen)
                path = temporary / "features"
                np.save(path / f"{name}.npy", features.values, allow_pickle=False)
                np.save(path / f"{name}.present.npy", features.present, allow_pickle=False)
                n_present = int(features.present.sum())
                infos[name] = ModalityInfo(dim=features.dim, items_with_feature=n_present)
            step = {"kind": self.kind, "share": self.share, "seed": seed, "of": source.hash}
            update = {
                "modalities": infos,
                "provenance": {**source.schema.provenance, "content": step},
                "files": hash_files(temporary),
            }
            schema = source.schema.model_copy(update=update)
            write_json(temporary / SCHEMA_FILE, schema.model_dump())

    def _change(self, features: Modality, chosen: np.ndarray) -> Modality:
        values, present = features.values.copy(), features.present.copy()
        if self.kind == "shuffled":
            values[chosen] = features.values[np.roll(chosen, 1)]
            present[chosen] = features.present[np.roll(chosen, 1)]
            return Modality(values, present)
        present[chosen] = False
        if not present.any():
            values[:] = 0.0
        return impute(values, present)


@dataclass(frozen=True)
class WithoutItems:
    """Two samples of the items held out, see :mod:`ld4mrec_cli.experiments.cold_items`."""

    share: float
    """Of the items in each sample."""
    stay_in_catalog: bool = False
    """Whether their features stay, for models that score items without interactions."""

    @property
    def name(self) -> str:
        """See :class:`Derivation`."""
        return "forgotten-items" if self.stay_in_catalog else "held-out-items"

    def write(self, source: Dataset, out: Path, seed: int) -> None:
        """See :class:`Derivation`."""
        samples = draw_samples(source.shape[1], self.share, seed)
        items = np.concatenate([*samples.values()])
        hold_out_items(source, items, out, stay_in_catalog=self.stay_in_catalog)

    def open_samples(self, source: Dataset, known: Dataset, seed: int) -> ColdItems:
        """The dataset that :meth:`write` wrote, and its samples."""
        return ColdItems(source, known, draw_samples(source.shape[1], self.share, seed))


def open_derived(derivation: Derivation, source: Dataset, directory: Path, seed: int) -> Dataset:
    """The derived dataset in ``directory``, made where it is missing.

    Raises:
        RunError: the directory holds one of other data.
        UserError: it cannot be made, such as noise of more interactions than there are.
    """
    path = directory / f"{derivation.name}-seed{seed}"
    if not (path / SCHEMA_FILE).exists():
        path.parent.mkdir(exist_ok=True)
        derivation.write(source, path, seed)
    found = Dataset.open(path)
    if not _comes_from(found, source):
        raise RunError("was made of other data", where=path, hint="Choose another --out")
    return found


def _comes_from(found: Dataset, source: Dataset) -> bool:
    provenance = found.schema.provenance
    noise = provenance.get("noise")
    hashes = [
        step.get(key)
        for step, key in (
            (provenance.get("content"), "of"),
            (provenance.get("held_out"), "from_hash"),
        )
        if isinstance(step, dict)
    ]
    if isinstance(noise, list):
        hashes += [step.get("from_hash") for step in noise if isinstance(step, dict)]
    return source.hash in hashes
