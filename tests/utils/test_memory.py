"""Peak memory is that of the process itself."""

import subprocess
import sys

import numpy as np
import pytest

from ld4mrec_cli.utils import memory


@pytest.mark.slow
def test_the_peak_grows_by_what_is_held():
    before = memory.peak_memory_mb()
    if before is None:
        pytest.skip("the system does not tell")
    held = np.ones(int(before + 100) * 2**17)  # float64: 100 MiB above all that was held so far
    after = memory.peak_memory_mb()
    assert after >= held.nbytes / 2**20


@pytest.mark.skipif(not memory.STATUS.exists(), reason="needs Linux's process status")
def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it():
    code = """
import subprocess, sys
import numpy as np
held = np.ones(400 * 2**17)
child = "from ld4mrec_cli.utils.memory import peak_memory_mb; print(peak_memory_mb())"
command = [sys.executable, "-c", child]
print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200.0


def test_without_process_status_the_system_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "nowhere")
    peak = memory.peak_memory_mb()
    assert peak is None or peak > 20.0
