"""Kill prepare, train, tune and compare at random moments, start again, and compare the results.

    python examples/robustness/kills.py --tries 50

Each try kills the command and its child processes (SIGKILL) at a random moment between its first
write and its end. The next start must end with the result of an undisturbed run. One line for each
command: tries, corrupt, silent, tracebacks, leftovers. Exit code 1 unless all but tries are 0.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import time
from pathlib import Path

from scenarios import Counts, Scenario, check_restart, kill_tree, run_campaign, start

POLL_SECONDS = 0.005


def measure(scenario: Scenario, work: Path) -> tuple[float, float]:
    """Seconds from start to the first write, and to the end, of an undisturbed run."""
    scenario.set_up(work)
    before = {path.name for path in work.iterdir()}
    begin, first = time.monotonic(), None
    process = start(scenario.command, work)
    while process.poll() is None:
        if first is None and {path.name for path in work.iterdir()} != before:
            first = time.monotonic() - begin
        time.sleep(POLL_SECONDS)
    end = time.monotonic() - begin
    if process.returncode != 0:
        raise SystemExit(f"{scenario.name}: {process.communicate()[0]}")
    process.communicate()
    return first if first is not None else end / 2, end


def kill_at_random(
    scenario: Scenario, tries: int, work: Path, generator: random.Random, counts: Counts
) -> None:
    """Kill a command ``tries`` times."""
    first, end = measure(scenario, work)
    expected = scenario.result(work)
    for number in range(tries):
        scenario.set_up(work)
        moment = generator.uniform(0.9 * first, end)
        process = start(scenario.command, work)
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.communicate()
        label = f"try {number}, at {moment:.3f} s"
        check_restart(scenario, work, expected, counts, label)
        counts.show_progress(scenario.name, label)


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=50, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="a command, such as train")
    options = parser.parse_args()

    def interrupt(scenario: Scenario, work: Path, counts: Counts) -> None:
        kill_at_random(scenario, options.tries, work, random.Random(options.seed), counts)

    run_campaign(options.only, interrupt)


if __name__ == "__main__":
    main()
