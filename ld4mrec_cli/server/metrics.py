"""Metrics for Prometheus, in a registry of their own: a process may have several servers."""

from __future__ import annotations

from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from ld4mrec_cli.server.pool import ComputePool
from ld4mrec_cli.server.run_source import RunSource

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds."""


class Metrics:
    """Counts of requests, lists and reloads. Labels are routes, never ids."""

    def __init__(self, pool: ComputePool, source: RunSource) -> None:
        self._registry = CollectorRegistry()
        self._source = source
        ProcessCollector(registry=self._registry)
        self._seconds = Histogram(
            "ld4mrec_request_seconds",
            "Time from a request to its answer.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self.lists = Counter("ld4mrec_lists", "Recommended lists.", registry=self._registry)
        open_requests = Gauge(
            "ld4mrec_open_computations",
            "Requests that are computed or wait for it.",
            registry=self._registry,
        )
        open_requests.set_function(lambda: pool.n_open)
        reloads = Gauge(
            "ld4mrec_reloads_total", "Newer runs.", ("result",), registry=self._registry
        )
        for result in source.n_reloads:
            reloads.labels(result).set_function(partial(source.n_reloads.__getitem__, result))
        self._run = Gauge(
            "ld4mrec_run_info", "The served run.", ("run", "model"), registry=self._registry
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._seconds.labels(method, route, str(status)).observe(seconds)

    def to_text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        run = self._source.current
        self._run.clear()
        self._run.labels(run.name, run.info["model"]).set(1)
        return generate_latest(self._registry)
