"""The life of a run, as its status file tells it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.launch.status import Status, enqueue, running


def told(folder: Path) -> Status:
    status = Status.read(folder)
    assert status is not None
    return status


def test_a_queued_run_becomes_running_and_done(tmp_path: Path) -> None:
    enqueue(tmp_path, ["seed=1"], "gpu_queue")
    assert told(tmp_path).state == "queued"
    with running(tmp_path, ["seed=1"]) as ending:
        now = told(tmp_path)
        assert (now.state, now.pid, now.attempt, now.launcher) == ("running", os.getpid(), 1, "gpu_queue")
        ending.finished({"return_mean": 2.0, "updates": 7, "env_steps": 70})
    end = told(tmp_path)
    assert (end.state, end.exit_code, end.last["return"], end.last["updates"]) == ("done", 0, 2.0, 7.0)


def test_an_error_is_told_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), running(tmp_path, []):
        raise ConfigError("a bad thing", "a good one", "mend it")
    assert told(tmp_path).state == "failed"
    assert "a bad thing" in str(told(tmp_path).error)


def test_a_signal_after_saving_is_told_as_killed(tmp_path: Path) -> None:
    with running(tmp_path, []) as ending:
        ending.stopped(signal.SIGTERM)
    assert (told(tmp_path).state, told(tmp_path).exit_code) == ("killed", 143)


def test_an_exit_is_told_as_killed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), running(tmp_path, []):
        raise SystemExit(143)
    assert (told(tmp_path).state, told(tmp_path).exit_code) == ("killed", 143)


def test_attempts_are_counted_over_queueing_again(tmp_path: Path) -> None:
    for attempt in (1, 2):
        enqueue(tmp_path, [], "gpu_queue")
        with running(tmp_path, []) as ending:
            ending.stopped(signal.SIGTERM)
        assert told(tmp_path).attempt == attempt


def test_a_finished_or_running_run_is_not_queued(tmp_path: Path) -> None:
    with running(tmp_path, []):
        assert enqueue(tmp_path, [], "gpu_queue").state == "running"
    (tmp_path / "done.json").write_text("{}")
    assert enqueue(tmp_path, [], "gpu_queue").state == "done"


@pytest.mark.parametrize(
    ("env", "job"),
    [
        ({"SLURM_JOB_ID": "7"}, "7"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "1"}, "8_1"),
        ({"LSB_JOBID": "5", "LSB_JOBINDEX": "0"}, "5"),
        ({"LSB_JOBID": "5", "LSB_JOBINDEX": "2"}, "5[2]"),
        ({}, None),
    ],
)
def test_the_schedulers_name_of_a_job_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], job: str | None
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "LSB_JOBID", "LSB_JOBINDEX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with running(tmp_path, []):
        assert told(tmp_path).job == job
