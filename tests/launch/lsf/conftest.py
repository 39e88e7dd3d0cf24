"""A cluster of stand-ins: its commands come first on PATH, and its daemon runs as long as the test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worldmodels.launch.lsf import commands
from worldmodels.launch.lsf.job import LsfJob
from worldmodels.launch.lsf.watcher import LsfInfoWatcher

HERE = Path(__file__).parent
STANDINS = HERE.parents[1] / "cluster" / "lsf"
sys.path += [str(HERE), str(HERE.parents[1]), str(HERE.parents[1] / "cluster")]  # for lsf_calls.py, runs.py, sweeps.py


class Cluster:
    """What a test sees of the cluster behind the commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def clock(self) -> Path:
        """While it is there, time counts for run limits."""
        return self.folder / "clock"

    def jobs(self) -> dict[str, dict[str, Any]]:
        for _ in range(3):
            try:
                return json.loads((self.folder / "state.json").read_text())["jobs"]
            except FileNotFoundError:
                time.sleep(0.05)
        return {}

    def job(self, key: str = "1") -> dict[str, Any]:
        return self.jobs()[key]

    def until(self, happened: Callable[[], Any], seconds: float = 120.0) -> Any:
        end = time.monotonic() + seconds
        while not (value := happened()):
            assert time.monotonic() < end, f"it did not happen; the cluster: {json.dumps(self.jobs(), indent=1)}"
            time.sleep(0.05)
        return value

    def events(self, key: str = "1") -> list[str]:
        return [text for _, text in self.job(key)["events"]]


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Stand-ins on PATH, but nothing that starts jobs; a minute takes two seconds."""
    monkeypatch.setenv("PATH", f"{STANDINS / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LSF_STANDIN", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("LSF_STANDIN_MINUTE", "2")
    monkeypatch.setenv("LSF_STANDIN_CLOCK", str(folder / "clock"))
    monkeypatch.setenv("LSF_STANDIN_INTERVAL", "0.5")
    monkeypatch.setattr(commands, "LONGEST", 0.05)
    monkeypatch.setattr(LsfJob, "watcher", LsfInfoWatcher())
    monkeypatch.setattr(LsfJob, "_results_timeout_s", 1)
    return Cluster(folder)


@contextlib.contextmanager
def working(cluster: Cluster) -> Iterator[Cluster]:
    environ = {**os.environ, "PYTHONPATH": str(STANDINS)}
    daemon = subprocess.Popen([sys.executable, "-m", "standin.daemon"], env=environ)
    yield cluster
    daemon.terminate()
    daemon.wait()
    for job in cluster.jobs().values():
        if job["pid"] is not None:
            try:
                os.killpg(job["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def commands_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return prepared(tmp_path / "lsf", monkeypatch)


@pytest.fixture
def cluster(commands_only: Cluster) -> Iterator[Cluster]:
    with working(commands_only):
        yield commands_only


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the tests of a file."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        cluster = prepared(tmp_path_factory.mktemp("cluster") / "lsf", monkeypatch)
        with working(cluster):
            yield cluster
