"""The configuration that every command shares.

Sections are frozen and refuse unknown keys. The defaults are the ``default`` preset; ``paper`` is a
set of overrides in ``presets/paper.yaml``. The published settings of a baseline are in
``presets/models/NAME.yaml``.
"""

from ld4mrec_cli.config.chosen import apply_choice
from ld4mrec_cli.config.load import (
    config_from_mapping,
    config_to_yaml,
    load_config,
    model_text,
    preset_text,
)
from ld4mrec_cli.config.ownership import (
    Difference,
    iter_differences,
    iter_searchable,
    iter_switches,
    owner,
    resumable_keys,
)
from ld4mrec_cli.config.schema import Config, iter_sections
from ld4mrec_cli.config.yaml_reader import read_yaml

__all__ = [
    "Config",
    "Difference",
    "apply_choice",
    "config_from_mapping",
    "config_to_yaml",
    "iter_differences",
    "iter_searchable",
    "iter_sections",
    "iter_switches",
    "load_config",
    "model_text",
    "owner",
    "preset_text",
    "read_yaml",
    "resumable_keys",
]
