"""What the requests of one server share."""

from __future__ import annotations

from dataclasses import dataclass

from ld4mrec_cli.server.batching import Batcher
from ld4mrec_cli.server.metrics import Metrics
from ld4mrec_cli.server.pool import ComputePool
from ld4mrec_cli.server.run_source import RunSource
from ld4mrec_cli.server.served_run import ServedRun
from ld4mrec_cli.server.settings import ServerSettings


@dataclass(frozen=True)
class ServerState:
    """Kept as ``app.state.server``."""

    settings: ServerSettings
    source: RunSource
    pool: ComputePool
    metrics: Metrics
    plain: Batcher[tuple[ServedRun, int, bool], str, bytes]
    """Computes plain requests together: by run, k and include_seen, of a user each."""
