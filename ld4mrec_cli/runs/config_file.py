"""``config.yaml`` of a run: a copy of the manifest's configuration, for people and `train`."""

from __future__ import annotations

from pathlib import Path

from ld4mrec_cli.config import Config, load_config
from ld4mrec_cli.utils.errors import RunError, UserError
from ld4mrec_cli.utils.files import sha256


def check_config_file(path: Path, expected_hash: str, config: Config) -> None:
    """Refuse a run whose ``config.yaml`` was edited: it would be ignored, the manifest counts.

    A missing file is accepted. So is another text with the same settings, such as added comments,
    or the new file of a resume that was killed before the manifest had its hash.

    Args:
        path: the file.
        expected_hash: SHA-256 in the manifest.
        config: the configuration in the manifest.

    Raises:
        RunError: it has other settings than the manifest.
    """
    try:
        if not path.exists() or sha256(path) == expected_hash or load_config(path) == config:
            return
    except (UserError, OSError):
        pass
    hint = (
        f"Put it back. To train with the edited file: `ld4mrec train --config {path} --run NEW`; "
        "to resume with other settings: --set"
    )
    what = "was edited since training, but the configuration in manifest.json counts"
    raise RunError(what, where=path, hint=hint)
