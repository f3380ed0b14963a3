"""Which checkpoints of a training are written."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager


class CheckpointThrottle:
    """Decides which checkpoints are written.

    Checkpoints that take under a second are always written, others for at most 5 % of the time.
    """

    def __init__(self) -> None:
        self._duration, self._written = 0.0, -math.inf

    def is_due(self) -> bool:
        """Whether the next checkpoint should be written."""
        return self._duration < 1.0 or time.monotonic() - self._written >= 20.0 * self._duration

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the block, in which a checkpoint is written."""
        start = time.monotonic()
        yield
        self._written = time.monotonic()
        self._duration = self._written - start
