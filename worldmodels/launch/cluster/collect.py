"""Waiting for jobs: one result per job, whatever becomes of it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from submitit.core.utils import FailedJobError, UncompletedJobError, pickle_load

from worldmodels.launch import console
from worldmodels.launch.cluster.scheduler import Scheduler

FIRST, OFTEN, SELDOM = 1.0, 2.0, 30.0  # seconds between questions to the scheduler: the first ones, then ever fewer
LATE, LATEST = (
    5.0,
    60.0,
)  # seconds that a result may be under way: of a job that is gone; of one that is said to be done
DONE = "COMPLETED"


class Collector:
    """Yields the number of each job when it is over, with its result."""

    def __init__(self, jobs: Sequence[Any], scheduler: Scheduler) -> None:
        self.jobs, self.scheduler = dict(enumerate(jobs)), scheduler
        self.gone: dict[int, float] = {}  # since when the scheduler does not know a job any more
        self.pause, self.asked, self.silent = FIRST, -float("inf"), False

    def __iter__(self) -> Iterator[tuple[int, JobReturn]]:
        while self.jobs:
            self._ask()
            for number, job in list(self.jobs.items()):
                answer = self._answer(number, job)
                if answer is not None:
                    del self.jobs[number]
                    yield number, answer
            if self.jobs:
                time.sleep(min(10.0, max(1.0, 0.01 * len(self.jobs))))

    def _ask(self) -> None:
        now = time.monotonic()
        if now - self.asked < self.pause:
            return
        living = self.scheduler.living(list(self.jobs.values()))
        self.asked, self.pause = now, min(max(self.pause * 1.2, OFTEN), SELDOM)
        if (living is None) != self.silent:
            self.silent = living is None
            console.say(
                "the scheduler does not answer; still waiting" if self.silent else "the scheduler answers again"
            )
        if living is None:
            return
        for number, job in self.jobs.items():
            if job.job_id in living:
                self.gone.pop(number, None)
            elif number not in self.gone:
                self.gone[number] = now
                self.pause = FIRST  # look again soon: a job that is queued again may be seen in neither place

    def _answer(self, number: int, job: Any) -> JobReturn | None:
        parts = [job.task(k) for k in range(job.num_tasks)]
        if all(part.paths.result_pickle.exists() for part in parts):
            return result(job.job_id, parts)
        since = self.gone.get(number)
        if since is None or time.monotonic() - since < LATE or self.asked < since + LATE / 2:
            return None
        verdict = self.scheduler.verdict(job.job_id)
        if verdict == DONE and time.monotonic() - since < LATEST:
            return None
        return failed(UncompletedJobError(f"job {job.job_id} {verdict or 'is gone'}; {_where(parts[0])}"))


def result(job: str, parts: Sequence[Any]) -> JobReturn:
    """Of the first process of a job; a failure of any of them is the job's."""
    answers = [_read(job, part) for part in parts]
    return next((answer for answer in answers if answer.status != JobStatus.COMPLETED), answers[0])


def failed(error: Exception) -> JobReturn:
    return JobReturn(_return_value=error, status=JobStatus.FAILED)


def _read(job: str, part: Any) -> JobReturn:
    path = part.paths.result_pickle
    try:
        outcome, told = pickle_load(path)
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, TypeError) as error:
        return failed(UncompletedJobError(f"job {job}: its result {path} can not be read: {error!r}"))
    if outcome == "success":
        return told
    lines = [line for line in str(told).splitlines() if line.strip()]
    return failed(FailedJobError(f"job {job}: {lines[-1] if lines else 'failed'}; {_where(part)}\n{told}"))


def _where(part: Any) -> str:
    kept = part.paths.stderr if part.paths.stderr.is_file() else part.paths.stdout
    return f"its log: {kept}"
