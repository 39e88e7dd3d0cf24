"""Jobs from submission to result, on stand-ins for LSF that run real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lsf_calls
import pytest
import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError


def executor(folder: Path, timeouts: int = 3, **options: object) -> submitit.AutoExecutor:
    made = submitit.AutoExecutor(folder / "jobs" / "%j", cluster="lsf", lsf_max_num_timeout=timeouts)
    made.update_parameters(**{"timeout_min": 600, **options})
    return made


def steps(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()]


@pytest.fixture(scope="module")
def array(shared, tmp_path_factory) -> dict[str, Any]:
    """Five calls at once: one works, one raises, one exits with 3, one is cancelled, one is suspended."""
    folder = tmp_path_factory.mktemp("array")
    python = f"env WHICH_PYTHON=ours {sys.executable}"
    executor_of_five = executor(folder, lsf_array_parallelism=5, lsf_python=python, name="five calls/[at once]")
    calls = [lsf_calls.who, lsf_calls.fail, lsf_calls.leave, lsf_calls.rest, lsf_calls.rest]
    jobs = executor_of_five.map_array(lsf_calls.call, calls, [[], [], [3], [600.0], [2.0]])
    shared.until(lambda: shared.job("1[5]")["stat"] == "RUN")
    subprocess.run(["bstop", "1[5]"], check=True)
    shared.until(lambda: shared.job("1[5]")["stat"] == "USUSP")
    suspended = (jobs[4].watcher.get_state("1_5", mode="force"), jobs[4].done(force_check=True))
    shared.until(lambda: shared.job("1[4]")["stat"] == "RUN")
    jobs[3].cancel()
    shared.until(lambda: shared.job("1[4]")["stat"] in ("DONE", "EXIT"))
    subprocess.run(["bresume", "1[5]"], check=True)
    shared.until(lambda: all(job["stat"] in ("DONE", "EXIT") for job in shared.jobs().values()))
    return {"jobs": jobs, "folder": folder, "suspended": suspended}


def test_elements_of_an_array_are_counted_from_1_as_lsf_does_and_find_their_own_pickles(array) -> None:
    assert [job.job_id for job in array["jobs"]] == ["1_1", "1_2", "1_3", "1_4", "1_5"]
    assert array["jobs"][0].result()["job"] == "1_1"


def test_a_job_that_fails_in_an_array_leaves_the_others_results(array) -> None:
    assert array["jobs"][4].result() == "rested"
    with pytest.raises(FailedJobError, match="not today"):
        array["jobs"][1].result()


def test_the_jobs_of_an_array_run_with_the_python_that_was_asked_for(array) -> None:
    assert array["jobs"][0].result()["python"] == "ours"


def test_cancelling_an_element_kills_it_and_nothing_else(array, shared) -> None:
    assert shared.job("1[4]")["reason"].startswith("TERM_OWNER")
    assert [shared.job(f"1[{index}]")["stat"] for index in (1, 5)] == ["DONE", "DONE"]
    with pytest.raises(UncompletedJobError, match=r"LSF says of job 1\[4\]: EXIT.*TERM_OWNER: job killed by owner"):
        array["jobs"][3].result()
    assert array["jobs"][3].state == "CANCELLED"


def test_the_exit_code_of_a_process_that_leaves_no_result_reaches_lsf_and_comes_back(array, shared) -> None:
    assert shared.job("1[3]")["exit_code"] == 3
    with pytest.raises(UncompletedJobError, match="EXIT, exit code 3"):
        array["jobs"][2].result()
    assert array["jobs"][2].get_info()["ExitCode"] == "3"


def test_a_suspended_job_is_waited_for(array) -> None:
    state, done = array["suspended"]
    assert (state, done) == ("PREEMPTED", False)
    assert array["jobs"][4].result() == "rested"


def test_what_a_job_prints_is_in_its_log_and_lsfs_own_report_beside_the_folders(array) -> None:
    assert "leaving" in array["jobs"][2].stdout()
    assert (array["folder"] / "jobs" / "1_3_lsf.out").exists()
    assert shared_name(array) == "five_calls__at_once_"


def shared_name(array: dict[str, Any]) -> str:
    """The job's name without what makes it unique; the record of submissions has it, with the number."""
    number, name = (array["folder"] / "jobs" / "lsf_jobs.txt").read_text().split()
    assert number == "1"
    return name.rsplit("-", 1)[0]


def test_at_the_run_limit_a_job_is_warned_checkpoints_slowly_and_goes_on_where_it_was(cluster, tmp_path) -> None:
    """The checkpoint takes longer than the time between the warning and the limit, when LSF signals once more."""
    file = tmp_path / "steps"
    job = executor(tmp_path, timeouts=9, timeout_min=3, lsf_signal_delay_s=60).submit(
        lsf_calls.Count(file, 60, slow=3.0)
    )
    begun = job.result()
    assert begun > 0
    assert sorted(set(steps(file))) == list(range(60))
    assert len(steps(file)) < 65  # nothing was begun anew
    assert any("is being requeued" in text or "Requeued" in text for text in cluster.events())
    assert sum(text.startswith("Signal <USR2>") for text in cluster.events()) >= 2
    cluster.until(lambda: cluster.job()["stat"] == "DONE")


def test_a_preempted_element_is_queued_again_as_often_as_it_takes(cluster, tmp_path) -> None:
    """The site's signal comes long before the run limit: no time-out is counted, and none would be allowed."""
    files = [tmp_path / "a", tmp_path / "b"]
    counts = [lsf_calls.Count(file, steps) for file, steps in zip(files, (40, 5), strict=True)]
    first, second = executor(tmp_path, timeouts=0).submit_array(counts)
    cluster.until(lambda: files[0].exists() and len(files[0].read_text()) > 20)
    first._interrupt()
    assert first.result() > 0
    assert second.result() == 0
    assert sorted(set(steps(files[0]))) == list(range(40))
    assert cluster.job("1[1]")["attempts"] == 2
    assert cluster.job("1[2]")["attempts"] == 1


def test_a_job_that_may_not_call_brequeue_is_queued_again_by_its_exit_code(cluster, tmp_path) -> None:
    file = tmp_path / "steps"
    options = {"timeout_min": 3, "lsf_signal_delay_s": 60, "lsf_requeue_exit_code": 99}
    job = executor(tmp_path, timeouts=9, **options).submit(lsf_calls.Count(file, 50))
    assert job.result() > 0
    assert sorted(set(steps(file))) == list(range(50))
    assert any("(exit code 99)" in text for text in cluster.events())


def test_a_job_that_timed_out_too_often_ends_and_says_so(cluster, tmp_path) -> None:
    job = executor(tmp_path, timeouts=0, timeout_min=3, lsf_signal_delay_s=60).submit(
        lsf_calls.Count(tmp_path / "steps", 6000)
    )
    with pytest.raises(FailedJobError, match="timed-out too many times"):
        job.result()
    cluster.until(lambda: cluster.job()["stat"] == "EXIT")


def test_every_task_of_a_job_on_one_host_runs_and_gives_its_result(cluster, tmp_path) -> None:
    job = executor(tmp_path, tasks_per_node=2, cpus_per_task=2).submit(lsf_calls.who)
    found = job.results()
    assert [each["rank"] for each in found] == [0, 1]
    assert {(each["tasks"], each["nodes"], each["node"]) for each in found} == {(2, 1, 0)}
    assert len(cluster.job()["hosts"]) == 4
    assert set(cluster.job()["hosts"]) == {"hostA"}


def test_the_tasks_of_several_hosts_are_started_by_blaunch(cluster, tmp_path) -> None:
    found = executor(tmp_path, nodes=2, tasks_per_node=1).submit(lsf_calls.who).results()
    assert [(each["rank"], each["node"], each["local"], each["here"]) for each in found] == [
        (0, 0, 0, "hostA"),
        (1, 1, 0, "hostB"),
    ]
    assert found[1]["hosts"] == ["hostA", "hostB"]


def test_a_lost_answer_of_bsub_does_not_submit_twice(cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_MUTE", "bsub:1")
    job = executor(tmp_path).submit(lsf_calls.rest, 0.0)
    assert job.result() == "rested"
    assert list(cluster.jobs()) == ["1"]


def test_a_result_counts_although_lsf_has_forgotten_the_job(cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_CLEAN", "0")
    job = executor(tmp_path).submit(lsf_calls.rest, 0.0)
    cluster.until(lambda: cluster.job()["stat"] == "DONE")
    time.sleep(0.1)
    assert subprocess.run(["bjobs", "-a", "1"], capture_output=True, text=True).stderr == "Job <1> is not found\n"
    assert job.result() == "rested"
    assert job.watcher.get_state("1", mode="force") == "COMPLETED"  # bhist remembers
