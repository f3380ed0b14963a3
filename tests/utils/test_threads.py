"""Threads: how many, and how they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ld4mrec_cli.utils.threads import THREAD_VARIABLES, WAIT_VARIABLES, use_passive_waiting

COUNT_THREADS = (
    "import os\n"
    "from ld4mrec_cli.utils.threads import configure_threads\n"
    "configure_threads(3)\n"
    "import numpy, torch\n"
    "from threadpoolctl import threadpool_info\n"
    "assert torch.get_num_threads() == 3, torch.get_num_threads()\n"
    "pools = {pool['num_threads'] for pool in threadpool_info()}\n"
    "assert max(pools) <= 3, pools\n"
)


@pytest.fixture(autouse=True)
def restore_environment():
    saved = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(saved)


def test_threads_sleep_while_they_wait_unless_told_otherwise():
    for variable in WAIT_VARIABLES:
        os.environ.pop(variable, None)
    use_passive_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("variable", WAIT_VARIABLES)
def test_a_policy_of_the_user_counts(variable):
    for name in WAIT_VARIABLES:
        os.environ.pop(name, None)
    os.environ[variable] = "1"
    use_passive_waiting()
    assert os.environ.get("OMP_WAIT_POLICY") == ("1" if variable == "OMP_WAIT_POLICY" else None)


@pytest.mark.slow
def test_the_number_of_threads_acts_on_all_libraries():
    environment = {k: v for k, v in os.environ.items() if k not in THREAD_VARIABLES}
    subprocess.run([sys.executable, "-c", COUNT_THREADS], env=environment, check=True)


def test_the_command_line_waits_passively():
    """The variable must be set before torch loads OpenMP."""
    code = (
        "import os, sys\n"
        "from ld4mrec_cli.cli.app import run\n"
        "assert 'torch' not in sys.modules\n"
        "run(['--version'])\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in WAIT_VARIABLES}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
