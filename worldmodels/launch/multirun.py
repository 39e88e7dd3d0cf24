"""Many runs from one command: where each will lie, what is left to do, and how they all ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from worldmodels.core.errors import ConfigError, LockError, UserError
from worldmodels.data.lock import Lock
from worldmodels.launch.choices import conf
from worldmodels.launch.folder import Folder, run_name
from worldmodels.launch.score import score
from worldmodels.launch.status import Status, enqueue, withdraw

Compose = Callable[[list[str]], DictConfig]
LOCK = ".sweep.lock"  # in the study's folder


@dataclass(frozen=True)
class Job:
    """One run of a multirun: its words and its folder."""

    words: tuple[str, ...]
    folder: Folder
    budget: Any

    def result(self) -> dict[str, Any] | None:
        """What it returned, if it is finished and the budget that it would have now adds nothing."""
        return self.folder.answer(self.budget)


def composed(loader: ConfigLoader, settings: DictConfig, words: Sequence[str]) -> DictConfig:
    """The config of one job, without Hydra's own part."""
    cfg = loader.load_sweep_config(settings, list(words))
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def plan(compose: Compose, words: Sequence[Sequence[str]]) -> list[Job]:
    """The runs that these command lines name; refuses those that would share a folder, and words that are wrong.

    A config is composed once for all jobs that differ in plain values only, which takes a tenth of a second.
    """
    kinds: dict[tuple[str, ...], DictConfig] = {}
    jobs, owners = list[Job](), dict[Path, Sequence[str]]()
    for each in words:
        shape = set(decisive(each))
        kind = tuple(word if word in shape else word.partition("=")[0] for word in each)
        if kind not in kinds or _place_varies(kinds[kind]):
            kinds[kind] = compose(list(each))
        cfg = kinds[kind]
        name = run_name(each) if cfg.name is None else str(cfg.name)
        folder = Folder(Path(cfg.paths.runs, str(cfg.study), name))
        if folder.path in owners:
            raise ConfigError(
                f"two runs share the folder {folder.path}:\n    "
                + "\n    ".join(" ".join(words) for words in (owners[folder.path], each)),
                "runs that differ in more than a name, threads, or loggers",
                "leave out what they share, such as name=...; sweep over something that changes the run",
            )
        owners[folder.path] = each
        jobs.append(Job(tuple(each), folder, OmegaConf.to_container(cfg.budget, resolve=True)))
    return jobs


def _place_varies(cfg: DictConfig) -> bool:
    """Whether plain values decide where a run lies, as in name=r_${seed}, or how long it lasts."""
    places = ((cfg, "name"), (cfg, "study"), (cfg.paths, "runs"), *((cfg.budget, key) for key in cfg.budget))
    return any(OmegaConf.is_interpolation(part, key) for part, key in places)


def run(launcher: Launcher, kind: str, jobs: Sequence[Job], *, at_once: int | None = None) -> list[JobReturn]:
    """Start what is not finished, at most so many in one batch; one result per job, in order.

    A launcher that `takes_finished` is handed all jobs, and starts only those that are left.
    """
    with locked({job.folder.path.parent for job in jobs}):
        results = {job.folder.path: _finished(job) for job in jobs}
        left = [job for job in jobs if results[job.folder.path] is None]
        given = jobs if getattr(launcher, "takes_finished", False) else left
        size = at_once or max(len(given), 1)
        with _enqueued(left, kind):
            for start in range(0, len(given), size):
                batch = given[start : start + size]
                told = launcher.launch([list(job.words) for job in batch], initial_job_idx=start)
                results |= {job.folder.path: answer for job, answer in zip(batch, told, strict=True)}
    return [_there(results[job.folder.path]) for job in jobs]


@contextmanager
def _enqueued(jobs: Sequence[Job], kind: str) -> Iterator[None]:
    """Says that they wait; if the launcher refuses to start at all, such as for a GPU that is not there, no more."""
    before = [Status.read(job.folder.path) for job in jobs]
    for job in jobs:
        enqueue(job.folder.path, job.words, kind)
    try:
        yield
    except UserError:
        for job, status in zip(jobs, before, strict=True):
            withdraw(job.folder.path, status)
        raise


@contextmanager
def locked(studies: set[Path]) -> Iterator[None]:
    """One sweep at a time in each of these folders."""
    with ExitStack() as held:
        for study in sorted(studies):
            study.mkdir(parents=True, exist_ok=True)
            try:
                held.callback(Lock(study / LOCK).release)
            except LockError as taken:
                raise LockError(
                    f"another sweep is at work in {study}: {taken.found}",
                    "one sweep per study",
                    "wait for it, stop it, or give this one its own folder with study=<name>",
                ) from None
        yield


def failures(jobs: Sequence[Job], results: Sequence[JobReturn]) -> list[tuple[Job, str]]:
    """The jobs that failed, and the first line of why."""
    failed = [(job, each) for job, each in zip(jobs, results, strict=True) if each.status != JobStatus.COMPLETED]
    return [(job, f"{type(why).__name__}: {why}".splitlines()[0]) for job, why in ((j, _why(r)) for j, r in failed)]


def _why(result: JobReturn) -> object:
    return getattr(result, "_return_value", None)


def decisive(words: Sequence[str]) -> list[str]:
    """Those that may change what other options there are, or where the run lies."""
    groups = {path.name for path in conf().iterdir() if path.is_dir()}
    return [word for word in words if _decides(word, groups)]


def _decides(word: str, groups: set[str]) -> bool:
    key = word.lstrip("+~").partition("=")[0].split("@")[0]
    return "/" in key or key in groups or key in ("study", "name") or key.split(".")[0] in ("paths", "budget", "hydra")


def _finished(job: Job) -> JobReturn | None:
    result = job.result()
    if result is None or "force=true" in map(str.lower, job.words):
        return None
    return JobReturn(overrides=list(job.words), _return_value=score(result), status=JobStatus.COMPLETED)


def _there(result: JobReturn | None) -> JobReturn:
    assert result is not None
    return result
