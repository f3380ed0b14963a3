"""Load on `ld4mrec serve`: one client, then several at once, and the same lists without HTTP.

    python examples/benchmarks/serve_load.py --run runs/latest
    python examples/benchmarks/serve_load.py --run runs/latest --clients 32 --reasons 2

Needs the extra `serve`. The server is started on a free port and ended afterwards.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from common import machine

from ld4mrec_cli.serving.recommender import Recommender

WARM_UP = 20


@dataclass
class Measured:
    """Times and results of some requests."""

    milliseconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def line(self, name: str) -> str:
        times = sorted(self.milliseconds)
        p95, p99 = (times[int(share * (len(times) - 1))] for share in (0.95, 0.99))
        outcomes = ", ".join(f"{count} × {what}" for what, count in self.outcomes.items())
        return (
            f"{name:<24} median {statistics.median(times):6.1f} ms  "
            f"p95 {p95:6.1f}  p99 {p99:6.1f}  {outcomes}"
        )


@contextmanager
def server(run: Path, options: list[str]) -> Iterator[int]:
    """Start a server and yield its port."""
    command = [sys.executable, "-m", "ld4mrec_cli", "serve", "--run", str(run), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--no-log-requests", *options], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            print(f"server: {line.rstrip()}", flush=True)
            match = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if match:
                yield int(match[1])
                break
        else:
            raise SystemExit("the server did not start")
    finally:
        process.terminate()
        print(f"the server ended with exit code {process.wait(60)}")


def ask(connection: http.client.HTTPConnection, body: bytes, k: int) -> str:
    """Send a request; its status, or what is wrong with the answer."""
    connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        return f"{answer.status} {content[:80].decode(errors='replace')}"
    lists = json.loads(content)["lists"]
    return "200" if len(lists) == 1 and len(lists[0]["items"]) == k else "a wrong list"


def load(port: int, bodies: list[bytes], n_clients: int, k: int) -> tuple[Measured, float]:
    """Send all bodies by some clients that each wait for the answer; also the seconds it took."""
    measured, lock, waiting = Measured(), threading.Lock(), iter(bodies)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                return
            started = time.perf_counter()
            try:
                outcome = ask(connection, body, k)
            except OSError as error:
                outcome = type(error).__name__
                connection.close()
            passed = 1e3 * (time.perf_counter() - started)
            with lock:
                measured.milliseconds.append(passed)
                measured.outcomes[outcome] += 1

    started = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return measured, time.perf_counter() - started


def call_directly(recommend: Callable[[str], object], users: list[str]) -> Measured:
    """The same lists in this process."""
    measured = Measured()
    for user in users:
        started = time.perf_counter()
        recommend(user)
        measured.milliseconds.append(1e3 * (time.perf_counter() - started))
    measured.outcomes["list"] = len(users)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--reasons", type=int, default=0)
    parser.add_argument("options", nargs="*", help="options of `ld4mrec serve`, behind --")
    arguments = parser.parse_args()
    run, k, reasons = arguments.run.resolve(), arguments.k, arguments.reasons
    recommender = Recommender(run)
    every = max(1, len(recommender.users) // arguments.requests)
    users = list(islice(cycle(recommender.users.ids[::every]), arguments.requests))
    bodies = [json.dumps({"users": [user], "k": k, "reasons": reasons}).encode() for user in users]
    print(machine())
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}; options: {arguments.options}")

    def recommend(user: str) -> object:
        return recommender.recommend(user, k=k, reasons=reasons)

    call_directly(recommend, users[:WARM_UP])
    direct = call_directly(recommend, users[: len(users) // 2])
    with server(run, arguments.options) as port:
        load(port, bodies[:WARM_UP], 1, k)
        single, _ = load(port, bodies, 1, k)
        many, seconds = load(port, bodies, arguments.clients, k)
    again = call_directly(recommend, users[len(users) // 2 :])  # the machine may have slowed down
    direct.milliseconds += again.milliseconds
    direct.outcomes += again.outcomes
    print(direct.line("direct call"))
    print(single.line("HTTP, 1 client"))
    print(many.line(f"HTTP, {arguments.clients} clients"))
    ratio = statistics.median(single.milliseconds) / statistics.median(direct.milliseconds)
    print(f"one client: {ratio:.2f} times the direct call")
    print(f"{arguments.clients} clients: {len(bodies) / seconds:.0f} requests a second")


if __name__ == "__main__":
    main()
