"""How a multirun ended."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn

from worldmodels.launch import console
from worldmodels.launch.jobs.roster import Run
from worldmodels.launch.jobs.table import labels, of_runs, remarks
from worldmodels.launch.multirun import Job, failures
from worldmodels.launch.status import Status, observe


def show(jobs: Sequence[Job], results: Sequence[JobReturn]) -> None:
    """The table of `worldmodels jobs status` for these runs, why some failed, and the count."""
    known = [Run(job.folder.path, observe(job.folder.path) or Status("queued", job.words)) for job in jobs]
    named = {run.folder: label for run, label in zip(known, labels(known), strict=True)}
    failed = failures(jobs, results)
    console.CONSOLE.print()
    console.CONSOLE.print(of_runs(known))
    for line in remarks(known):
        console.say(line)
    unaware = {run.folder for run in known if run.status.state in ("queued", "running", "done")}
    for job, why in failed:
        if job.folder.path in unaware:  # it could not say so itself
            console.say(f"failed   {named[job.folder.path]}\n         {why}")
    studies = ", ".join(sorted({str(job.folder.path.parent) for job in jobs}))
    console.say(f"\n{len(jobs) - len(failed)} of {len(jobs)} runs finished; all lie in {studies}")
