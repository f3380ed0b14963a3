"""Stop prepare, train, tune and compare at each file-system event, start again, compare results.

    python examples/robustness/events.py --kind kill
    python examples/robustness/events.py --kind interrupt --every 5

An event is an open for writing, rename, remove, mkdir, rmdir, link or fsync of the command's own
process in its working directory (see inject/sitecustomize.py; Linux). ``kill`` sends SIGKILL just
before it, ``interrupt`` SIGINT. The next start must end with the result of an undisturbed run.
Commands are forks of a process that has imported them (fork_server.py). Stopped by Ctrl-C or
SIGTERM, it prints the counts so far; ``--first`` goes on from an event.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fork_server import ForkServer
from scenarios import BUG_SIGNS, Counts, Scenario, check_restart, run_campaign

EXIT_CODES = {"kill": (-9,), "interrupt": (0, 1)}
"""Of a command that is stopped; 0 where an interrupt comes after its work."""


def run_with_events(
    server: ForkServer, scenario: Scenario, work: Path, stop_at: int, kind: str
) -> tuple[int, str, int]:
    """Exit code, output and number of events of a command that stops at an event (0: never)."""
    report = work.with_suffix(".events")
    report.unlink(missing_ok=True)
    environment = {
        "LD4MREC_EVENTS_ROOT": str(work),
        "LD4MREC_EVENTS_STOP_AT": str(stop_at),
        "LD4MREC_EVENTS_KIND": kind,
        "LD4MREC_EVENTS_REPORT": str(report),
    }
    code, output = server.run(scenario.command, work, environment)
    return code, output, int(report.read_text()) if report.exists() else 0


def stop_at_events(
    server: ForkServer, scenario: Scenario, work: Path, kind: str, events: slice, counts: Counts
) -> None:
    """Stop a command at each event of a slice of all."""
    scenario.set_up(work)
    code, output, n_events = run_with_events(server, scenario, work, 0, kind)
    if code != 0 or n_events == 0:
        raise SystemExit(f"{scenario.name}: exit {code}, {n_events} events: {output}")
    expected = scenario.result(work)
    for number in range(1, n_events + 1)[events]:
        scenario.set_up(work)
        label = f"event {number} of {n_events}"
        code, output, n_counted = run_with_events(server, scenario, work, number, kind)
        if code == 0 and n_counted < number:  # slow checkpoints are written less often
            print(f"  {scenario.name}, {label}: this time there were only {n_counted}", flush=True)
            continue
        if any(sign in output for sign in BUG_SIGNS):
            counts.add("tracebacks", f"{label}: {output[-600:]}")
        if code not in EXIT_CODES[kind] or (code == 1 and output.count("error: ") != 1):
            counts.add("corrupt", f"{label}: stopped with exit code {code}: {output[-600:]}")
        check_restart(scenario, work, expected, counts, label, server.run)
        counts.show_progress(scenario.name, label)


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=tuple(EXIT_CODES), default="kill")
    parser.add_argument("--first", type=int, default=1, help="begin with this event")
    parser.add_argument("--every", type=int, default=1, help="only each N-th event")
    parser.add_argument("--only", help="a command, such as train")
    options = parser.parse_args()
    events = slice(options.first - 1, None, options.every)
    with ForkServer.start() as server:

        def interrupt(scenario: Scenario, work: Path, counts: Counts) -> None:
            stop_at_events(server, scenario, work, options.kind, events, counts)

        run_campaign(options.only, interrupt)


if __name__ == "__main__":
    main()
