"""Runs as jobs of a cluster, or of this machine: submit them, or find those that are out already, and wait for all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldmodels.launch import console
from worldmodels.launch.cluster import standing

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from worldmodels.launch.cluster.scheduler import Scheduler

SHOWN = 8
SAVING = 60.0  # seconds that local runs get to save themselves


def launch(launcher: Any, words: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """One result per run, in order; a run that failed, was cancelled or got lost costs only itself.

    A job that an earlier call submitted for the same words, and that still waits or runs, is waited for and not
    submitted again. One that is over is: its run goes on from its checkpoint.
    """
    from worldmodels.launch.cluster.scheduler import scheduler
    from worldmodels.launch.cluster.submit import job_class

    asked = scheduler(launcher._EXECUTOR, job_class(launcher._EXECUTOR))
    jobs = _adopt(launcher, words, asked)
    folders = standing.folders(launcher, words)
    _submit(launcher, [tuple(each) for each in words], first, jobs, asked)
    for k, job in jobs.items():
        standing.submitted(folders[k], launcher, job.job_id)
    try:
        return _wait(words, folders, jobs, asked)
    except (KeyboardInterrupt, SystemExit):
        _leave(folders, jobs, asked)
        raise


def _adopt(launcher: Any, words: Sequence[Sequence[str]], asked: Scheduler) -> dict[int, Any]:
    """Jobs of these runs that are out already."""
    from worldmodels.launch.cluster.ledger import Ledger
    from worldmodels.launch.cluster.submit import find, submission_folder

    known = Ledger(submission_folder(launcher).parent).newest(launcher._EXECUTOR)
    entries = {k: known[key] for k, each in enumerate(words) if (key := tuple(sorted(each))) in known}
    if not entries:
        return {}
    jobs = {k: find(launcher, Path(entry.folder), entry.job) for k, entry in entries.items()}
    living = _insist(asked, list(jobs.values()))
    jobs = {k: job for k, job in jobs.items() if job.job_id in living}
    if jobs:
        console.say(f"{_several(jobs.values())} from before still wait or run; they are not submitted again")
    return jobs


def _insist(asked: Scheduler, jobs: list[Any]) -> set[str]:
    """Which of them live; waits for a scheduler that does not answer, as submitting twice would be worse."""
    pause = 1.0
    while (living := asked.living(jobs)) is None:
        console.say(f"the scheduler does not say which jobs are out; again in {pause:.0f} s")
        time.sleep(pause)
        pause = min(2 * pause, 60.0)
    return living


def _submit(launcher: Any, words: list[tuple[str, ...]], first: int, jobs: dict[int, Any], asked: Scheduler) -> None:
    """Adds to `jobs`; every id is on disk before anything else happens."""
    from worldmodels.launch.cluster.ledger import Ledger
    from worldmodels.launch.cluster.submit import Submitter, submission_folder

    left = [k for k in range(len(words)) if k not in jobs]
    if not left:
        return
    ledger, place = Ledger(submission_folder(launcher).parent), iter(left)
    for submitted, entries in Submitter(launcher, asked).submit([words[k] for k in left], first):
        ledger.add(entries)
        for job in submitted:
            jobs[next(place)] = job
        console.say(f"submitted {_several(submitted)}; logs in {Path(entries[0].folder).parent}")
    console.say(f"stop them with: {asked.stop([job.job_id for job in jobs.values()])}")


def _wait(
    words: Sequence[Sequence[str]], folders: Sequence[Path], jobs: dict[int, Any], asked: Scheduler
) -> list[JobReturn]:
    from hydra.core.utils import JobStatus

    from worldmodels.launch.cluster.collect import Collector

    results: dict[int, JobReturn] = {}
    order = sorted(jobs)
    for place, answer in Collector([jobs[k] for k in order], asked):
        number = order[place]
        answer.overrides = list(words[number])
        results[number] = answer
        job, count = jobs[number].job_id, f"{len(results)} of {len(jobs)}"
        if answer.status == JobStatus.COMPLETED:
            console.say(f"finished {job} ({count}): {' '.join(words[number])}")
            continue
        why = str(answer._return_value).partition("\n")[0]
        standing.lost(folders[number], job, why)
        console.say(f"failed   {job} ({count}): {' '.join(words[number])}\n         {why}")
    return [results[k] for k in range(len(words))]


def _leave(folders: Sequence[Path], jobs: dict[int, Any], asked: Scheduler) -> None:
    from worldmodels.launch.cluster.scheduler import Local

    if isinstance(asked, Local):
        console.say("stopping; the runs save themselves, and the same command goes on")
        asked.terminate(list(jobs.values()), SAVING)
        for k, job in jobs.items():
            standing.lost(folders[k], job.job_id, "stopped before it began, or while it saved itself")
        return
    console.say("the jobs go on without this command, and the same command waits for them again")
    console.say(f"stop them with: {asked.stop([job.job_id for job in jobs.values()])}")


def _several(jobs: Any) -> str:
    ids = [str(job.job_id) for job in jobs]
    shown = ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
    return f"{len(ids)} {'job' if len(ids) == 1 else 'jobs'} ({shown})"
