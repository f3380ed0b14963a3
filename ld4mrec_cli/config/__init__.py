"""The one configuration model that every command shares.

Sections are frozen and refuse unknown keys. The defaults are the ``default`` preset; ``paper`` is a set
of overrides in ``presets/paper.yaml``; a baseline's published settings are in ``presets/models/NAME.yaml``.
"""

from ld4mrec_cli.config.baselines import (
    BPRConfig,
    DiffRecConfig,
    EASEConfig,
    IALSConfig,
    ItemKNNConfig,
    LightGCNConfig,
    MultVAEConfig,
    VBPRConfig,
)
from ld4mrec_cli.config.differences import Difference, differences
from ld4mrec_cli.config.loading import (
    config_from_mapping,
    config_to_yaml,
    load_config,
    model_text,
    preset_text,
    read_yaml,
)
from ld4mrec_cli.config.readers import reader
from ld4mrec_cli.config.root import Config, sections
from ld4mrec_cli.config.sections import (
    DataConfig,
    DiffusionConfig,
    EvaluationConfig,
    ModelConfig,
    PrepareConfig,
    TrainingConfig,
)
from ld4mrec_cli.config.types import TFIDF, ColumnName, Mask, ModelName, Preset, Section, SourceFormat, SplitMethod

__all__ = [
    "TFIDF",
    "BPRConfig",
    "ColumnName",
    "Config",
    "DataConfig",
    "DiffRecConfig",
    "Difference",
    "DiffusionConfig",
    "EASEConfig",
    "EvaluationConfig",
    "IALSConfig",
    "ItemKNNConfig",
    "LightGCNConfig",
    "Mask",
    "ModelConfig",
    "ModelName",
    "MultVAEConfig",
    "PrepareConfig",
    "Preset",
    "Section",
    "SourceFormat",
    "SplitMethod",
    "TrainingConfig",
    "VBPRConfig",
    "config_from_mapping",
    "config_to_yaml",
    "differences",
    "load_config",
    "model_text",
    "preset_text",
    "read_yaml",
    "reader",
    "sections",
]
