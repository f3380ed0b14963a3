"""Bounded computation, and requests that are computed together."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ld4mrec_cli.server.batching import Batcher
from ld4mrec_cli.server.pool import BusyError, ComputePool, TooSlowError


def test_more_than_fit_are_refused():
    gate = threading.Event()
    pool = ComputePool(workers=1, max_waiting=2, timeout=5)

    async def scene():
        tasks = [asyncio.create_task(pool.run(lambda deadline: gate.wait(5))) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert pool.n_open == 3
        with pytest.raises(BusyError):
            await pool.run(lambda deadline: None)
        gate.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        assert await pool.run(lambda deadline: 7) == 7
        assert pool.n_open == 0

    asyncio.run(scene())
    pool.close()


def test_a_late_computation_holds_its_place_until_it_ends():
    gate = threading.Event()
    pool = ComputePool(workers=1, max_waiting=1, timeout=0.05)
    started = []

    async def scene():
        late = asyncio.create_task(pool.run(lambda deadline: gate.wait(5)))
        waiting = asyncio.create_task(pool.run(lambda deadline: started.append(1)))
        for task in (late, waiting):
            with pytest.raises(TooSlowError):
                await task
        assert pool.n_open == 1  # the one that waited has gone
        gate.set()
        await asyncio.sleep(0.05)
        assert pool.n_open == 0

    asyncio.run(scene())
    assert started == []
    pool.close()


def test_a_deadline_ends_a_computation():
    pool = ComputePool(workers=1, max_waiting=0, timeout=0.05)
    rounds = []

    def compute(deadline):
        while True:
            rounds.append(time.monotonic())
            time.sleep(0.01)
            deadline.check()

    async def scene():
        with pytest.raises(TooSlowError):
            await pool.run(compute)

    asyncio.run(scene())
    time.sleep(0.05)
    n_rounds = len(rounds)
    time.sleep(0.05)
    assert len(rounds) == n_rounds > 1
    pool.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_what_waits_at_the_same_time_is_computed_together(workers):
    pool = ComputePool(workers, max_waiting=200, timeout=5)
    batches, gate = [], threading.Event()

    def compute(key, items):
        gate.wait(5)
        batches.append((key, list(items)))
        return [(key, item) for item in items]

    batcher = Batcher(pool, compute, max_size=8)

    async def scene():
        asked = [("even" if n % 2 == 0 else "odd", n) for n in range(100)]
        tasks = [asyncio.create_task(batcher.run(key, n)) for key, n in asked]
        await asyncio.sleep(0.02)
        gate.set()
        assert await asyncio.gather(*tasks) == asked

    asyncio.run(scene())
    assert sorted(n for _, items in batches for n in items) == list(range(100))
    assert all(len({n % 2 for n in items}) == 1 and len(items) <= 8 for _, items in batches)
    assert len(batches) < 30
    assert batcher._waiting == {}
    pool.close()


def test_an_error_reaches_those_of_the_batch_and_no_others():
    pool = ComputePool(workers=1, max_waiting=20, timeout=5)

    def compute(key, items):
        if key == "bad":
            raise ValueError("bad")
        return items

    batcher = Batcher(pool, compute, max_size=8)

    async def scene():
        tasks = [batcher.run(key, n) for n, key in enumerate(["bad", "good", "bad", "good"])]
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(scene())
    assert [type(one).__name__ for one in found] == ["ValueError", "int", "ValueError", "int"]
    pool.close()


def test_one_that_nobody_waits_for_is_not_computed():
    pool = ComputePool(workers=1, max_waiting=1, timeout=0.1)
    gate, computed = threading.Event(), []

    def compute(key, items):
        gate.wait(5)
        computed.extend(items)
        return items

    batcher = Batcher(pool, compute, max_size=1)

    async def scene():
        tasks = [asyncio.create_task(batcher.run("key", n)) for n in range(3)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [TooSlowError, TooSlowError, BusyError]
        gate.set()
        await asyncio.sleep(0.05)
        assert await batcher.run("key", 9) == 9

    asyncio.run(scene())
    assert computed == [0, 9]
    pool.close()
