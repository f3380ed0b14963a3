"""An interrupt at any moment: exit code 1, one line, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.utils import interrupts
from ld4mrec_cli.utils.errors import RunError

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc to know when signals are handled"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("interrupts")
    raw, data = root / "raw", root / "data"
    raw.mkdir()
    write_synthetic(raw, 0, SyntheticSize(users=300, items=80, interactions_per_user=9))
    assert run(["prepare", "--raw", str(raw), "--out", str(data)]) == 0
    arguments = ["--data", str(data), "--model", "itemknn", "--run", str(root / "run")]
    assert run(["train", *arguments]) == 0
    return root


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the command, and wait until it handles SIGTERM, which Python itself does not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ld4mrec_cli", *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not handles_sigterm(process.pid):
        time.sleep(0.001)
    return process


def handles_sigterm(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["train", "evaluate", "prepare", "tune"])
def test_an_interrupt_at_any_moment_is_one_line(command, how, trained, tmp_path):
    arguments = {
        "train": ["--data", str(trained / "data"), "--set", "training.max_epochs=500"],
        "evaluate": ["--run", str(trained / "run")],
        "prepare": ["--raw", str(trained / "raw"), "--out", "out"],
        "tune": ["--data", str(trained / "data"), "--trials", "50", "--out", "search"],
    }[command]
    for delay in (0.0, 0.05, 0.15, 0.4, 0.9, 1.6, 3.0):
        process = start(command, *arguments, cwd=tmp_path)
        time.sleep(delay)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        if process.returncode == 0:
            assert command in ("evaluate", "prepare"), "the command was done already"
            break
        errors = [line for line in err.splitlines() if "error: " in line]
        assert process.returncode == 1, (delay, err)
        assert len(errors) == 1, (delay, err)
        assert errors[0].startswith("error: ")
        assert "interrupted" in errors[0]
        assert "Traceback" not in err
        assert "Exception ignored" not in err
        assert not list(tmp_path.rglob(".*.tmp"))


@pytest.mark.slow
def test_two_signals_at_once_are_one_interrupt(trained, tmp_path):
    """A terminal and torchrun each send theirs; the run is still left in good order."""
    arguments = ["--data", str(trained / "data"), "--set", "training.max_epochs=500", "--run", "r"]
    process = start("train", *arguments, cwd=tmp_path)
    while not (tmp_path / "r" / "checkpoint.safetensors").exists():
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: interrupted after epoch" in err
    assert err.count("error: ") == 1
    assert "Traceback" not in err


def test_a_keyboard_interrupt_in_a_command_is_one_line(monkeypatch, capsys, tmp_path):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ld4mrec_cli.cli.config.read_config", interrupt)
    assert run(["config"]) == 1
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_wrong_error_that_a_library_made_of_an_interrupt_is_not_shown(monkeypatch, capsys):
    def fail(*arguments, **options):
        monkeypatch.setattr(interrupts, "_first", 0.0)
        raise RunError("is damaged", where="weights.safetensors")

    monkeypatch.setattr("ld4mrec_cli.cli.config.read_config", fail)
    assert run(["config"]) == 1
    assert capsys.readouterr().err == "error: interrupted\n"


def test_an_import_in_the_midst_of_work_is_waited_for(tmp_path, monkeypatch):
    """An interrupt during the import is raised once it is done, and the import has succeeded."""
    (tmp_path / "slow_import.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(0.1)\n"
        "done = True\n"
    )
    script = (
        "import sys, time\n"
        "from ld4mrec_cli.utils import interrupts\n"
        "interrupts.STARTING = ('none',)\n"
        "interrupts.install()\n"
        "try:\n"
        "    import slow_import\n"
        "    time.sleep(5)\n"
        "except KeyboardInterrupt:\n"
        "    print(sys.modules['slow_import'].done)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.stdout == "True\n", result.stderr


def test_an_interrupt_lost_in_a_finalizer_is_raised_again():
    """Python drops what a finalizer raises; the work would go on as if nothing had come."""
    script = (
        "import os, signal, time\n"
        "from ld4mrec_cli.utils import interrupts\n"
        "class Finalized:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(0.1)\n"
        "        raise AssertionError('the signal came late')\n"
        "interrupts.install()\n"
        "try:\n"
        "    Finalized()\n"
        "    print('lost')\n"
        "    time.sleep(5)\n"
        "except KeyboardInterrupt:\n"
        "    print('raised')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30
    )
    assert (result.stdout, result.stderr) == ("lost\nraised\n", "")


def test_an_interrupt_of_evaluated_text_leaves_the_exit_code(tmp_path):
    """Without more, `python -m` ends by SIGINT although the interrupt was handled."""
    (tmp_path / "interrupted.py").write_text(
        "import os, signal, time\n"
        "from ld4mrec_cli.utils import interrupts\n"
        "interrupts.install()\n"
        "try:\n"
        "    eval('(os.kill(os.getpid(), signal.SIGINT), time.sleep(5))')\n"
        "except KeyboardInterrupt:\n"
        "    interrupts.exit_with(1)\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (result.returncode, result.stderr) == (1, "")


def test_the_handlers_are_installed_by_the_command_alone():
    assert not interrupts.is_installed()
