"""Requests that wait at the same time are computed together.

A batch of 16 users takes little longer than one user: the weights are read once. Nobody waits for
a batch to fill; a worker that becomes free takes all that wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from ld4mrec_cli.server.pool import ComputePool, Deadline, TooSlowError

K = TypeVar("K", bound=Hashable)
I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


class Batcher(Generic[K, I, R]):
    """Computes items with equal keys together."""

    def __init__(
        self, pool: ComputePool, compute: Callable[[K, Sequence[I]], Sequence[R]], max_size: int
    ) -> None:
        """Take what computes the results of some items, at most ``max_size`` of them."""
        self._pool = pool
        self._compute = compute
        self._max_size = max_size
        self._lock = threading.Lock()
        self._waiting: dict[K, deque[tuple[I, Future[R]]]] = {}

    async def run(self, key: K, item: I) -> R:
        """Result of an item.

        Raises:
            BusyError: too many requests wait already.
            TooSlowError: the time limit has passed.
        """
        result: Future[R] = Future()
        with self._lock:
            self._waiting.setdefault(key, deque()).append((item, result))
        try:
            await self._pool.run(lambda deadline: self._work(key, deadline))
            # Another worker may have taken the item, and may still be at it.
            return await asyncio.wait_for(asyncio.wrap_future(result), self._pool.timeout)
        except TimeoutError:
            raise TooSlowError from None
        finally:
            result.cancel()  # without effect on what is done

    def _work(self, key: K, deadline: Deadline) -> None:
        """Compute what waits under a key; nothing, if other workers have taken it all."""
        batch = self._take(key)
        if not batch:
            return
        try:
            results = self._compute(key, [item for item, _ in batch])
        except BaseException as error:  # whoever waits gets it
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)

    def _take(self, key: K) -> list[tuple[I, Future[R]]]:
        """Items that wait under a key and are still wanted; they can no longer be cancelled."""
        with self._lock:
            waiting = self._waiting.get(key, deque())
            batch: list[tuple[I, Future[R]]] = []
            while waiting and len(batch) < self._max_size:
                item, future = waiting.popleft()
                if future.set_running_or_notify_cancel():
                    batch.append((item, future))
            if not waiting:
                self._waiting.pop(key, None)
            return batch
