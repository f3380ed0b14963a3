"""Stop prepare, train, tune and compare at each file-system event, start again, compare results.

    python examples/robustness/events.py --kind kill
    python examples/robustness/events.py --kind interrupt --every 5

An event is an open for writing, rename, remove, mkdir, rmdir, link or fsync of the command's own
process in its working directory (see inject/sitecustomize.py; Linux). ``kill`` sends SIGKILL just
before it, ``interrupt`` SIGINT. The next start must end with the result of an undisturbed run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scenarios import BUG_SIGNS, Counts, Scenario, check_restart, kill_group, run_campaign, start

INJECT = Path(__file__).parent / "inject"


def run_with_events(
    scenario: Scenario, work: Path, stop_at: int, kind: str, python_path: str
) -> tuple[int, str, int]:
    """Exit code, output and number of events of a command that stops at an event (0: never)."""
    report = work.with_suffix(".events")
    report.unlink(missing_ok=True)
    environment = {
        "PYTHONPATH": f"{INJECT}:{python_path}",
        "LD4MREC_EVENTS_ROOT": str(work),
        "LD4MREC_EVENTS_STOP_AT": str(stop_at),
        "LD4MREC_EVENTS_KIND": kind,
        "LD4MREC_EVENTS_REPORT": str(report),
    }
    process = start(scenario.command, work, environment)
    output = process.communicate()[0]
    kill_group(process)  # children of a process that was killed
    n_events = int(report.read_text()) if report.exists() else 0
    return process.returncode, output, n_events


def stop_at_events(scenario: Scenario, work: Path, kind: str, every: int) -> Counts:
    """Stop a command at each ``every``-th event."""
    python_path = str(Path(__file__).parents[2])
    scenario.set_up(work)
    code, output, n_events = run_with_events(scenario, work, 0, kind, python_path)
    if code != 0 or n_events == 0:
        raise SystemExit(f"{scenario.name}: exit {code}, {n_events} events: {output}")
    expected = scenario.result(work)
    counts = Counts()
    for number in range(1, n_events + 1, every):
        scenario.set_up(work)
        code, output, _ = run_with_events(scenario, work, number, kind, python_path)
        label = f"event {number} of {n_events}"
        if any(sign in output for sign in BUG_SIGNS):
            counts.add("tracebacks", f"{label}: {output[-600:]}")
        check_restart(scenario, work, expected, counts, label)
    return counts


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("kill", "interrupt"), default="kill")
    parser.add_argument("--every", type=int, default=1, help="only each N-th event")
    parser.add_argument("--only", help="a command, such as train")
    options = parser.parse_args()

    def interrupt(scenario: Scenario, work: Path) -> Counts:
        return stop_at_events(scenario, work, options.kind, options.every)

    run_campaign(options.only, interrupt)


if __name__ == "__main__":
    main()
