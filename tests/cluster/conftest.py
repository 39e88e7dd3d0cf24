"""The SLURM of one node that tests/cluster/slurm.sh starts; without it its tests are skipped and say why."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm.sh")
sys.path.append(str(Path(__file__).parent))  # for sweeps.py
sys.path.append(str(Path(__file__).parents[1]))  # for runs.py


def missing() -> str | None:
    """Why there is no cluster to test on."""
    start = f"start one as root on Debian with {SCRIPT.relative_to(SCRIPT.parents[2])} up"
    try:
        told = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return f"SLURM is not installed; {start}"
    except subprocess.TimeoutExpired:
        return f"SLURM does not answer; {start}"
    if told.returncode:
        return f"SLURM does not answer; {start}"
    ours = any(line.split() == ["ClusterName", "=", "worldmodels"] for line in told.stdout.splitlines())
    return None if ours else f"the SLURM here is not for tests; {start}, elsewhere"


@pytest.fixture(scope="session")
def cluster() -> None:
    why = missing()
    if why:
        pytest.skip(why)


@pytest.fixture
def alone(cluster: None) -> Iterator[None]:
    """The cluster's GPUs and settings belong to one test at a time, also with several workers."""
    with Path("/tmp/worldmodels-slurm-tests.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
