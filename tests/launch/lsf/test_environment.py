"""Inside a job: ids, ranks, and how it is queued again."""

from __future__ import annotations

import signal
import stat
from pathlib import Path

import pytest
from submitit.core import job_environment
from submitit.core.plugins import get_executors, get_job_environments
from submitit.core.utils import DelayedSubmission, JobPaths, UncompletedJobError

from worldmodels.core.errors import ConfigError
from worldmodels.launch.lsf import commands
from worldmodels.launch.lsf.environment import LsfJobEnvironment
from worldmodels.launch.lsf.executor import LsfExecutor


@pytest.fixture
def inside(monkeypatch) -> pytest.MonkeyPatch:
    """The environment of the fourth element of array 123."""
    for name, value in {"LSB_JOBID": "123", "LSB_JOBINDEX": "4", "LSB_HOSTS": "hostA hostA hostB"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LSB_MCPU_HOSTS", raising=False)
    return monkeypatch


def command(folder: Path, name: str, text: str) -> None:
    """A command of this name, first on PATH once `folder` is."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(stat.S_IRWXU)


def test_submitit_knows_the_plugin_by_its_entry_points() -> None:
    assert get_executors()["lsf"].__qualname__ == "LsfExecutor"
    assert get_job_environments()["lsf"].name() == "lsf"


def test_an_element_is_named_by_job_and_index_and_a_job_that_is_no_array_by_its_number(inside) -> None:
    assert LsfJobEnvironment().job_id == "123_4"
    inside.setenv("LSB_JOBINDEX", "0")
    assert LsfJobEnvironment().job_id == "123"
    assert LsfJobEnvironment().array_job_id is None


def test_hosts_are_named_once_and_a_job_without_tasks_of_ours_is_its_only_one(inside) -> None:
    env = LsfJobEnvironment()
    assert env.hostnames == ["hostA", "hostB"]
    assert (env.num_tasks, env.num_nodes, env.global_rank, env.local_rank, env.node) == (1, 1, 0, 0, 0)


def test_an_element_is_queued_again_by_lsfs_word_for_it(inside, tmp_path) -> None:
    command(tmp_path / "bin", "brequeue", f'echo "$@" > {tmp_path}/asked; echo "Job <$1> is being requeued"')
    inside.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    kept = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        LsfJobEnvironment()._requeue(3)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, kept[0])
        signal.signal(signal.SIGTERM, kept[1])
    assert (tmp_path / "asked").read_text() == "123[4]\n"


def test_a_brequeue_that_fails_is_tried_again_and_in_the_end_told(inside, tmp_path) -> None:
    inside.setattr(commands, "LONGEST", 0.01)
    command(tmp_path / "bin", "brequeue", f"echo x >> {tmp_path}/asked; echo 'LSF is down' >&2; exit 255")
    inside.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    kept = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(UncompletedJobError, match=r"brequeue 123\[4\] failed: LSF is down"):
            LsfJobEnvironment()._requeue(3)
    finally:
        signal.signal(signal.SIGINT, kept[0])
        signal.signal(signal.SIGTERM, kept[1])
    assert len((tmp_path / "asked").read_text().split()) == commands.ATTEMPTS


def test_where_the_exit_code_requeues_the_process_leaves_with_it(inside) -> None:
    inside.setenv("WORLDMODELS_LSF_REQUEUE_CODE", "99")
    with pytest.raises(SystemExit) as left:
        LsfJobEnvironment()._requeue(3)
    assert left.value.code == 99


def test_the_second_warning_does_not_start_a_second_checkpoint(inside, tmp_path) -> None:
    heard: list[int] = []

    def warned(self: object, number: int, frame: object = None) -> None:
        heard.append(number)
        signal.raise_signal(signal.SIGUSR2)  # the run limit's, in the middle of the checkpoint

    inside.setattr(job_environment.SignalHandler, "checkpoint_and_try_requeue", warned)
    kept = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT)}
    try:
        LsfJobEnvironment()._handle_signals(JobPaths(tmp_path), DelayedSubmission(print))
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGUSR2)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert heard == [signal.SIGUSR2]


def test_without_bsub_there_is_no_executor_and_slurm_goes_before_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert LsfExecutor.affinity() == -1
    with pytest.raises(ConfigError, match="bsub is not here"):
        LsfExecutor(tmp_path)
    command(tmp_path / "bin", "bsub", "")
    assert LsfExecutor.affinity() == 2
    command(tmp_path / "bin", "srun", "")
    assert LsfExecutor.affinity() == 1
