"""A status file tells what is true, even of runs that died."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from worldmodels.evaluation.status import Status, alive, observe, process_start

HERE = Status("running", host=socket.gethostname(), pid=os.getpid(), pid_started=process_start(os.getpid()))


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    status = replace(HERE, overrides=("seed=1", "env=dummy"), last={"return": 2.5}, job="12_3", attempt=2)
    status.write(tmp_path)
    assert Status.read(tmp_path) == status


def test_a_running_process_is_seen_as_running(tmp_path: Path) -> None:
    HERE.write(tmp_path)
    assert observe(tmp_path) == HERE
    assert alive(HERE) is True


def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    replace(HERE, pid=gone(), heartbeat=123.0).write(tmp_path)
    status = observe(tmp_path)
    assert status is not None
    assert (status.state, status.ended) == ("killed", 123.0)


def test_a_foreign_process_with_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    assert HERE.pid_started is not None
    replace(HERE, pid_started=HERE.pid_started - 60).write(tmp_path)
    status = observe(tmp_path)
    assert status is not None
    assert status.state == "killed"


def test_a_run_on_another_host_is_believed(tmp_path: Path) -> None:
    elsewhere = replace(HERE, host="elsewhere", pid=gone())
    elsewhere.write(tmp_path)
    assert observe(tmp_path) == elsewhere
    assert alive(elsewhere) is None


def test_a_result_means_done_whatever_the_status_says(tmp_path: Path) -> None:
    (tmp_path / "done.json").write_text("{}")
    assert observe(tmp_path) == Status("done")
    replace(HERE, pid=gone()).write(tmp_path)
    status = observe(tmp_path)
    assert status is not None
    assert status.state == "done"


@pytest.mark.parametrize("text", ["{", "[]", '{"state": "sleeping"}', "\xff"])
def test_a_damaged_status_reads_as_failed_and_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_bytes(text.encode("latin-1"))
    status = observe(tmp_path)
    assert status is not None
    assert status.state == "failed"
    assert "status.json" in str(status.error)


def test_a_folder_without_status_and_result_has_none(tmp_path: Path) -> None:
    assert observe(tmp_path) is None
