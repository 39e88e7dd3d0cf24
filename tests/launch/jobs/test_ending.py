"""Stopping means stopped, and nobody else's process is touched."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from worldmodels.launch.jobs import ending
from worldmodels.launch.status import Status, observe, process_start

POLITE = """
import signal, sys, time
from pathlib import Path
from worldmodels.launch.status import running
with running(Path(sys.argv[1]), ["seed=1"]) as ending:
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    print("up", flush=True)
    while not stopped:
        time.sleep(0.01)
    ending.stopped(stopped[0])
"""
DEAF = """
import signal, subprocess, sys, time
from pathlib import Path
from worldmodels.launch.status import running
with running(Path(sys.argv[1]), ["seed=2"]):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    time.sleep(600)
"""
Start = Callable[[str, str], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a script as a run of the study `tmp_path`; its first line of output comes with it."""
    begun: list[subprocess.Popen[str]] = []

    def begin(script: str, name: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / name)], stdout=subprocess.PIPE, text=True
        )
        begun.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def state(folder: Path) -> str:
    status = observe(folder)
    assert status is not None
    return status.state


def test_a_run_that_listens_saves_and_ends(tmp_path: Path, start: Start) -> None:
    process, _ = start(POLITE, "a")
    assert ending.stop(tmp_path, None, grace=30) == [("a", "ended: killed, saved", True)]
    assert process_start(process.pid) is None
    status = observe(tmp_path / "a")
    assert status is not None
    assert (status.state, status.exit_code) == ("killed", 143)


def test_a_deaf_run_is_killed_with_its_children(tmp_path: Path, start: Start) -> None:
    process, child = start(DEAF, "b")
    assert ending.stop(tmp_path, "b", grace=0.2) == [("b", "killed", True)]
    assert process_start(process.pid) is None
    assert process_start(int(child)) is None
    assert state(tmp_path / "b") == "killed"


def test_kill_does_not_ask(tmp_path: Path, start: Start) -> None:
    process, _ = start(POLITE, "a")
    assert ending.kill(tmp_path, "a") == [("a", "killed", True)]
    assert process_start(process.pid) is None


def test_stopping_one_run_leaves_the_others(tmp_path: Path, start: Start) -> None:
    start(POLITE, "a")
    other, _ = start(POLITE, "b")
    ending.stop(tmp_path, "a", grace=30)
    assert other.poll() is None
    assert state(tmp_path / "b") == "running"


def test_a_foreign_process_of_the_same_number_is_never_signalled(tmp_path: Path) -> None:
    foreign = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        began = process_start(foreign.pid)
        assert began is not None
        Status("running", host=socket.gethostname(), pid=foreign.pid, pid_started=began - 100).write(tmp_path / "a")
        assert ending.stop(tmp_path, None, grace=0.2) == []
        time.sleep(0.1)
        assert foreign.poll() is None
        assert state(tmp_path / "a") == "killed"
    finally:
        foreign.kill()
        foreign.wait()


def test_a_run_on_another_host_is_not_touched_and_said_so(tmp_path: Path) -> None:
    Status("running", host="elsewhere", pid=os.getpid(), pid_started=1.0).write(tmp_path / "a")
    ((name, what, fine),) = ending.stop(tmp_path, None, grace=0.1)
    assert (name, fine) == ("a", False)
    assert "elsewhere" in what


def test_a_cluster_job_is_cancelled_by_its_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "scancel").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\n')
    (tools / "scancel").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    job = Status("running", host="node7", pid=5, pid_started=1.0, launcher="submitit_slurm", job="12_3")
    job.write(tmp_path / "s" / "a")
    replace(job, state="queued", host=None, job="12_4").write(tmp_path / "s" / "b")
    assert [fine for _, _, fine in ending.stop(tmp_path / "s", None, grace=0.1)] == [True, True]
    assert (tmp_path / "cancelled").read_text().split() == ["12_3", "12_4"]
    assert state(tmp_path / "s" / "b") == "killed"


def test_a_waiting_run_is_taken_out_of_the_queue(tmp_path: Path) -> None:
    Status("queued", launcher="gpu_queue").write(tmp_path / "a")
    assert ending.stop(tmp_path, None, grace=0.1) == [("a", "taken out of the queue", True)]
    assert state(tmp_path / "a") == "killed"
