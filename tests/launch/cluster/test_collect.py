"""Waiting for jobs: what a result file, a scheduler's silence, and a job that is gone amount to."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from submitit.core.utils import FailedJobError, JobPaths, UncompletedJobError

from worldmodels.launch.cluster import collect
from worldmodels.launch.cluster.collect import Collector


class Clock:
    """Time passes by sleeping alone; `events` happen on the way."""

    def __init__(self) -> None:
        self.now, self.events = 0.0, list[tuple[float, Any]]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 1000, "hangs"
        for event in [each for each in self.events if each[0] <= self.now]:
            self.events.remove(event)
            event[1]()


class Job:
    """What Collector takes of submitit's."""

    def __init__(self, folder: Path, job_id: str, tasks: int = 1, task: int = 0) -> None:
        self.folder, self.job_id, self.num_tasks = folder, job_id, tasks
        self.paths = JobPaths(folder, job_id, task)

    def task(self, number: int) -> Job:
        return Job(self.folder, self.job_id, 1, number)

    def ends(self, outcome: str, value: Any, task: int = 0) -> None:
        self.task(task).paths.result_pickle.write_bytes(pickle.dumps((outcome, value)))


class Scheduler:
    def __init__(self, *living: str, words: str | None = None) -> None:
        self.alive: set[str] | None = set(living)
        self.words, self.asked = words, 0

    def living(self, jobs: Any) -> set[str] | None:
        self.asked += 1
        return self.alive

    def verdict(self, job: str) -> str | None:
        return self.words

    def stop(self, jobs: Any) -> str:
        return ""

    def submitted(self, tag: str) -> str | None:
        return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(collect, "time", made)
    return made


def good(value: float) -> JobReturn:
    return JobReturn(_return_value=value, status=JobStatus.COMPLETED)


def test_results_come_as_jobs_end_each_with_its_number(clock: Clock, tmp_path: Path) -> None:
    jobs = [Job(tmp_path, "7_0"), Job(tmp_path, "7_1")]
    clock.events = [
        (5.0, lambda: jobs[1].ends("success", good(1.5))),
        (9.0, lambda: jobs[0].ends("success", good(0.5))),
    ]
    answers = list(Collector(jobs, Scheduler("7_0", "7_1")))
    assert [(number, answer.return_value) for number, answer in answers] == [(1, 1.5), (0, 0.5)]


def test_an_error_outside_of_the_run_costs_only_its_job(clock: Clock, tmp_path: Path) -> None:
    jobs = [Job(tmp_path, "7_0"), Job(tmp_path, "7_1")]
    jobs[0].ends("error", "Traceback (most recent call last):\n  ...\nImportError: no torch\n")
    jobs[1].ends("success", good(1.0))
    answers = dict(Collector(jobs, Scheduler()))
    assert answers[0].status == JobStatus.FAILED
    assert isinstance(answers[0]._return_value, FailedJobError)
    assert "job 7_0: ImportError: no torch" in str(answers[0]._return_value).splitlines()[0]
    assert answers[1].return_value == 1.0


def test_a_job_that_is_gone_without_a_result_failed_and_says_what_the_scheduler_says(
    clock: Clock, tmp_path: Path
) -> None:
    ((_, answer),) = Collector([Job(tmp_path, "7_0")], Scheduler("8_0", words="CANCELLED by 0"))
    assert answer.status == JobStatus.FAILED
    assert isinstance(answer._return_value, UncompletedJobError)
    assert "job 7_0 CANCELLED by 0; its log:" in str(answer._return_value)
    assert collect.LATE <= clock.now < 4 * collect.LATE


def test_a_job_that_is_gone_on_a_cluster_without_accounting_is_not_waited_for(clock: Clock, tmp_path: Path) -> None:
    ((_, answer),) = Collector([Job(tmp_path, "7")], Scheduler(words=None))
    assert "job 7 is gone" in str(answer._return_value)


def test_a_result_may_arrive_late_from_another_machine(clock: Clock, tmp_path: Path) -> None:
    job = Job(tmp_path, "7")
    clock.events = [(40.0, lambda: job.ends("success", good(2.0)))]
    ((_, answer),) = Collector([job], Scheduler(words="COMPLETED"))
    assert answer.return_value == 2.0


def test_a_job_that_is_seen_again_was_never_lost(clock: Clock, tmp_path: Path) -> None:
    job, scheduler = Job(tmp_path, "7"), Scheduler()
    clock.events = [
        (3.0, lambda: scheduler.alive.add("7")),  # between two places of the queue it was in neither
        (60.0, lambda: job.ends("success", good(3.0))),
    ]
    ((_, answer),) = Collector([job], scheduler)
    assert answer.return_value == 3.0


def test_a_scheduler_that_does_not_answer_ends_no_job(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, scheduler = Job(tmp_path, "7"), Scheduler()
    scheduler.alive = None
    clock.events = [(300.0, lambda: job.ends("success", good(4.0)))]
    ((_, answer),) = Collector([job], scheduler)
    assert answer.return_value == 4.0
    assert capsys.readouterr().out.count("does not answer") == 1


def test_a_scheduler_is_asked_ever_more_seldom(clock: Clock, tmp_path: Path) -> None:
    job, scheduler = Job(tmp_path, "7"), Scheduler("7")
    clock.events = [(900.0, lambda: job.ends("success", good(4.0)))]
    list(Collector([job], scheduler))
    assert scheduler.asked < 60


def test_a_job_of_two_processes_is_over_when_both_are_and_failed_if_one_did(clock: Clock, tmp_path: Path) -> None:
    job = Job(tmp_path, "7", tasks=2)
    clock.events = [
        (2.0, lambda: job.ends("success", good(1.0), task=0)),
        (8.0, lambda: job.ends("error", "ValueError: rank 1", task=1)),
    ]
    ((_, answer),) = Collector([job], Scheduler("7"))
    assert clock.now >= 8.0
    assert answer.status == JobStatus.FAILED
    assert "rank 1" in str(answer._return_value)


def test_a_result_that_can_not_be_read_is_a_failure_of_its_job(clock: Clock, tmp_path: Path) -> None:
    job = Job(tmp_path, "7")
    job.paths.result_pickle.write_bytes(b"half")
    ((_, answer),) = Collector([job], Scheduler())
    assert "can not be read" in str(answer._return_value)
