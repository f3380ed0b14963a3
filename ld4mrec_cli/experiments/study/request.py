"""What a user asked a study for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ld4mrec_cli.config import Config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.experiments.compare.systems import System


@dataclass(frozen=True)
class Request:
    """Systems, data and options of a study."""

    systems: Sequence[System]
    """Their configurations have the common dataset and protocol."""
    dataset: Dataset
    vary: Sequence[str] = ()
    """Settings and values as ``section.key=a,b``."""
    is_crossed: bool = False
    """Whether they are combined."""
    levels: Sequence[float] = ()
    """Shares, for studies that have levels; empty for the study's own."""
    types: Sequence[str] = ()
    """Noise types; empty for the study's own."""
    is_quick: bool = False

    def signals(self, config: Config) -> tuple[str, ...]:
        """Modalities that a configuration reads, by name."""
        return self.dataset.modality_names(config.data.modalities)
