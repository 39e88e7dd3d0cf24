"""Words of runs to jobs of a scheduler, by way of submitit."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import submitit
from hydra.core.singleton import Singleton
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from omegaconf import OmegaConf
from submitit.core.utils import DelayedSubmission, FailedJobError

from worldmodels.core.errors import ConfigError
from worldmodels.launch import console
from worldmodels.launch.cluster.ledger import Entry
from worldmodels.launch.cluster.scheduler import Scheduler

ARRAY = 500  # jobs in one array; SLURM and LSF take 1000 unless told otherwise
TRIES, LONGEST = 8, 60.0  # of a submission that the scheduler could not take just now; seconds between two
# What SLURM and LSF say when the fault is theirs and passes.
PASSING = re.compile(
    "timed out|timeout|temporar|try again|unable to contact|connection|communication|not responding|zero bytes|"
    "too busy|is down|not available|authentication error|resource limitation|cannot allocate memory",
    re.IGNORECASE,
)
EARLY = 60.0  # seconds by which SLURM may send the signal before it is due


class Submitter:
    """One launch: its jobs lie in a folder of their own, so that ids which come round again meet no old results."""

    def __init__(self, launcher: Any, scheduler: Scheduler) -> None:
        self.launcher, self.scheduler = launcher, scheduler
        self.tag = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        base = submission_folder(launcher)
        self.folder = base.parent / self.tag / base.name
        self.executor = _executor(launcher, self.folder, self.tag)

    def submit(self, words: Sequence[Sequence[str]], first: int) -> Iterator[tuple[list[Any], list[Entry]]]:
        """Arrays of jobs, with what to write down about them; `first` is Hydra's number of the first job."""
        state = Singleton.get_state()
        for start in range(0, len(words), ARRAY):
            chunk = words[start : start + ARRAY]
            calls = [
                (list(each), "hydra.sweep.dir", first + start + k, f"job_id_for_{first + start + k}", state)
                for k, each in enumerate(chunk)
            ]
            jobs = self._persist(calls)
            name, folder, now = self.launcher._EXECUTOR, str(self.folder), time.time()
            entries = [Entry(job.job_id, name, folder, tuple(each), now) for job, each in zip(jobs, chunk, strict=True)]
            yield jobs, entries

    def _persist(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Submit; a scheduler that does not answer is asked again, and first whether it took the jobs after all."""
        for attempt in range(TRIES):
            try:
                with _importable(), _undisturbed():
                    return self.executor.map_array(self.launcher, *zip(*calls, strict=True))
            except FailedJobError as error:
                told = str(error).strip() or "the command failed and said nothing"
                if not PASSING.search(told):
                    raise ConfigError(
                        f"the scheduler refuses the jobs: {told}",
                        "options that this cluster takes",
                        "mend hydra.launcher.*",
                    ) from error
                if job := self.scheduler.submitted(self.tag):
                    return self._adopted(job, calls)
                if attempt == TRIES - 1:
                    raise ConfigError(
                        f"the scheduler takes no jobs: {told}",
                        "one that answers",
                        "give the command again when it does; jobs that were submitted before are waited for",
                    ) from error
                pause = min(2.0**attempt, LONGEST)
                console.say(
                    f"the scheduler does not take the jobs now ({told.splitlines()[-1]}); again in {pause:.0f} s"
                )
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _adopted(self, job: str, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Jobs that were taken although the command failed: give them their work."""
        ids = [job] if len(calls) == 1 else [f"{job}_{k}" for k in range(len(calls))]
        jobs = [find(self.launcher, self.folder, each) for each in ids]
        for each, call in zip(jobs, calls, strict=True):
            work = DelayedSubmission(self.launcher, *call)
            work.set_timeout(self.launcher.params["timeout_min"], self.launcher.params.get("max_num_timeout", 0))
            each.paths.folder.mkdir(parents=True, exist_ok=True)
            work.dump(each.paths.submitted_pickle)
        return jobs


def submission_folder(launcher: Any) -> Path:
    """As configured, with %j."""
    folder = Path(str(launcher.params["submitit_folder"])).absolute()
    if folder.name != "%j":
        do = "add it to hydra.launcher.submitit_folder"
        raise ConfigError(f"submitit_folder={folder}", "a path that ends in /%j, a job's id", do)
    return folder


def find(launcher: Any, folder: Path, job: str) -> Any:
    """Submitit's Job of an id that was submitted before."""
    kind, tasks = job_class(launcher._EXECUTOR), range(_tasks(launcher))
    return kind(folder=folder, job_id=job, tasks=list(tasks))


def job_class(executor: str) -> Any:
    from submitit.core.plugins import get_executors

    known = get_executors()
    if executor not in known:
        raise ConfigError(f"submitit knows no executor {executor!r}", f"one of {', '.join(known)}", "install it")
    return known[executor].job_class


def _tasks(launcher: Any) -> int:
    return int(launcher.params.get("nodes") or 1) * int(launcher.params.get("tasks_per_node") or 1)


def _executor(launcher: Any, folder: Path, tag: str) -> Any:
    """Submitit's executor with the parameters of hydra.launcher; those that it does not share get its name before."""
    name, params = launcher._EXECUTOR, dict(launcher.params)
    demand_time(params)
    params.pop("submitit_folder")
    late = {key: params.pop(key) for key in ("max_num_timeout", "python") if params.get(key) is not None}
    if name == "slurm":
        params["comment"] = f"{params.get('comment') or ''} worldmodels:{tag}".strip()
    shared = set(OmegaConf.structured(BaseQueueConf).keys())
    try:
        executor = submitit.AutoExecutor(folder, cluster=name, **{f"{name}_{key}": each for key, each in late.items()})
        executor.update_parameters(
            **{key if key in shared else f"{name}_{key}": each for key, each in params.items() if each is not None}
        )
    except (ValueError, NameError, AssertionError, RuntimeError) as error:  # submitit's words for what is wrong
        expected = f"what hydra/launcher=submitit_{name} takes, on a machine that has the scheduler"
        raise ConfigError(f"submitit: {error}", expected, "mend hydra.launcher.*") from error
    return executor


def demand_time(params: dict[str, Any]) -> None:
    """ConfigError if the signal to save could come before the run has begun."""
    limit, delay = 60.0 * params["timeout_min"], params.get("signal_delay_s")
    if delay is not None and delay >= limit:
        raise ConfigError(
            f"signal_delay_s={delay} with timeout_min={params['timeout_min']}",
            "a signal that comes after the start of a job",
            "set a longer hydra.launcher.timeout_min, or a shorter hydra.launcher.signal_delay_s",
        )
    if delay is not None and delay + EARLY >= limit:
        console.say(
            f"warning  SLURM may send the signal up to {EARLY:.0f} s early: with timeout_min={params['timeout_min']} "
            f"and signal_delay_s={delay} a job may be told to stop before it has begun"
        )


@contextmanager
def _importable() -> Iterator[None]:
    """Jobs inherit the environment; in it they find the package, installed or not."""
    before = os.environ.get("PYTHONPATH")
    root = str(Path(__file__).resolve().parents[3])
    os.environ["PYTHONPATH"] = root if not before else f"{root}{os.pathsep}{before}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No Ctrl-C between taking a job in and noting its id. Local jobs keep this, so that Ctrl-C reaches them once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
