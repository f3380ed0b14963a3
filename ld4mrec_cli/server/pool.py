"""Bounded computation: some threads, some requests that wait for them, and a time limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class BusyError(Exception):
    """Too many requests wait already."""


class TooSlowError(Exception):
    """The time limit has passed."""


class Deadline:
    """The moment at which an answer is due."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise TooSlowError if it has passed: nobody waits for the answer any more."""
        if time.monotonic() > self._end:
            raise TooSlowError


class ComputePool:
    """Runs functions in worker threads.

    A computation that is too late cannot be killed. Its worker counts as busy until it ends, which
    is at the next :meth:`Deadline.check`.
    """

    def __init__(self, workers: int, max_waiting: int, timeout: float) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="compute")
        self._capacity = workers + max_waiting
        self.timeout = timeout
        """Seconds that a computation may take, waiting included."""
        self._lock = threading.Lock()
        self._n_open = 0

    @property
    def n_open(self) -> int:
        """Requests that are computed or wait."""
        return self._n_open

    async def run(self, function: Callable[[Deadline], T]) -> T:
        """Result of ``function``.

        Raises:
            BusyError: too many requests wait already.
            TooSlowError: the time limit has passed, waiting included.
        """
        with self._lock:
            if self._n_open >= self._capacity:
                raise BusyError
            self._n_open += 1
        deadline = Deadline(self.timeout)
        future = self._executor.submit(_run_in_time, function, deadline)
        future.add_done_callback(self._count_down)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.timeout)
        except TimeoutError:
            raise TooSlowError from None

    def _count_down(self, future: Future[T]) -> None:
        with self._lock:
            self._n_open -= 1

    def close(self) -> None:
        """End the threads, without waiting for what nobody waits for."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _run_in_time(function: Callable[[Deadline], T], deadline: Deadline) -> T:
    deadline.check()
    return function(deadline)
