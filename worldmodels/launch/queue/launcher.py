"""`hydra/launcher=gpu_queue`: a multirun's jobs as processes of this machine, placed by GPU memory."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from worldmodels.core.errors import ConfigError
from worldmodels.launch.multirun import Job, plan
from worldmodels.launch.naming import seed_names
from worldmodels.launch.numbers import Range, demand
from worldmodels.launch.queue.devices import devices
from worldmodels.launch.queue.nouns import Device, Outcome, Rules
from worldmodels.launch.queue.probe import source
from worldmodels.launch.queue.queue import Queue
from worldmodels.launch.queue.record import Results
from worldmodels.launch.queue.run import STDERR, Run
from worldmodels.launch.queue.view import view
from worldmodels.launch.score import score

OWN = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep", "hydra.run", "hydra.mode")
STYLES = ("safe", "seed")
UNTOLD = ("force", "study", "name", "paths.runs")  # words that do not say what a run is
RULES = tuple(Rules.__dataclass_fields__)
NUMBERS = {
    **dict.fromkeys(("slots_per_gpu", "gpus_per_job"), Range(1)),
    **dict.fromkeys(("slots", "threads"), Range(1, optional=True)),
    **dict.fromkeys(("max_used_gb", "reserve_gb", "job_timeout_s"), Range(0, whole=False, optional=True)),
    **dict.fromkeys(("reserve_s", "poll_s", "release_wait_s", "release_below_mb", "grace_s"), Range(0, whole=False)),
    "retries": Range(0),
}


class RunError(RuntimeError):
    """A run of the queue did not finish; the message says why, and where to read on."""


def launch(
    options: Mapping[str, Any], context: HydraContext, config: DictConfig, words: Sequence[Sequence[str]]
) -> list[JobReturn]:
    """One answer per job, in order; a job that failed does not raise. SystemExit if a signal stopped the queue."""
    told = _checked(options)
    rules = _rules(told)
    probe = source(told["probe"])
    slots = _cores(told["threads"]) if told["slots"] is None else told["slots"]
    places = devices(told["gpus"], told["slots_per_gpu"], slots, probe)
    if rules.gpus_per_job > len(places):
        found = f"gpus_per_job={rules.gpus_per_job}, and {len(places)} to choose from"
        raise ConfigError(
            found, "no more GPUs for a job than there are", "set hydra.launcher.gpus_per_job or hydra.launcher.gpus"
        )
    lines = _named(words) if told["style"] == "seed" else [list(each) for each in words]
    jobs = plan(lambda each: context.config_loader.load_sweep_config(config, each), lines)
    runs = _runs(jobs, _tail(config))
    left = [run for run, job in zip(runs, jobs, strict=True) if job.result() is None or run.force]
    rest = [run for run in runs if run not in left]
    results = Results(Path(told["results_file"]), left, rest) if told["results_file"] else None
    _work(left, places, rules, probe, told, results)
    return [_answer(run, job) for run, job in zip(runs, jobs, strict=True)]


def _work(
    runs: list[Run], places: list[Device], rules: Rules, probe: Any, told: Mapping[str, Any], results: Results | None
) -> None:
    if not runs:
        if results:
            results.complete()
        return
    env = {str(name): str(value) for name, value in (told["env"] or {}).items()}
    queue = Queue(runs, places, rules, probe, env=env, threads=told["threads"], results=results, view=view())
    queue.run()
    if queue.stopped_by is not None:
        raise SystemExit(128 + queue.stopped_by)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """As plain data; ConfigError for what has the wrong type or size."""
    tree = OmegaConf.create({"hydra": {"launcher": dict(options)}})
    demand(tree, {f"hydra.launcher.{key}": allowed for key, allowed in NUMBERS.items()})
    told: Any = OmegaConf.to_container(tree.hydra.launcher, resolve=True)
    if told["style"] not in STYLES:
        raise ConfigError(f"style={told['style']}", f"one of {', '.join(STYLES)}", "correct hydra.launcher.style")
    for key, kinds, what in (
        ("env", (dict, type(None)), "names and values, {WANDB_MODE: offline}"),
        ("retry_on", (list, type(None)), "a list of regular expressions, or null"),
        ("fail_fast", (bool,), "true or false"),
        ("probe", (str,), "nvml, nvidia-smi, none, or the import path of a function"),
        ("results_file", (str, type(None)), "a path, or null"),
    ):
        if not isinstance(told[key], kinds):
            raise ConfigError(f"hydra.launcher.{key}={told[key]!r}", what, "correct it")
    return told


def _rules(told: dict[str, Any]) -> Rules:
    """The options that are rules. `release_below_mb` is counted as the original tool did, all else in GiB."""
    known = {name: told[name] for name in RULES if name in told and told[name] is not None}
    known["release_below_gb"] = told["release_below_mb"] / 1024
    if "retry_on" in known:
        known["retry_on"] = tuple(map(str, known["retry_on"]))
    rules = Rules(**known)
    return rules if told["probe"] != "none" else replace(rules, release_wait_s=0.0)


def _cores(threads: int | None) -> int:
    """CPU slots: as many as there are cores for their threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (threads or 1))


def _named(words: Sequence[Sequence[str]]) -> list[list[str]]:
    """With the original's names, as `name=...`; jobs that have a name keep it."""
    rows = [_values(each) for each in words]
    if all("name" in row for row in rows):
        return [list(each) for each in words]
    names = seed_names(rows)
    return [
        [*each, *([] if "name" in row else [f"name='{name}'"])]
        for each, row, name in zip(words, rows, names, strict=True)
    ]


def _runs(jobs: Sequence[Job], tail: Sequence[str]) -> list[Run]:
    labels = _labels([[word for word in job.words if _key(word) not in UNTOLD] for job in jobs])
    if all(any(_key(word) == "name" for word in job.words) for job in jobs):
        labels = [job.folder.path.name for job in jobs]
    found = []
    for job, label in zip(jobs, labels, strict=True):
        values = _values(job.words)
        words = [word for word in job.words if _key(word) != "force"]
        argv = (sys.executable, "-m", "worldmodels", "train", *words, *tail)
        force = values.pop("force", False) is True
        told = {key: value for key, value in values.items() if key not in UNTOLD}  # the original knew none of these
        found.append(Run(job.folder.path, argv, tuple(words), label, told, force))
    return found


def _labels(rows: Sequence[Sequence[str]]) -> list[str]:
    """What tells each run from the others: the words that not all have, with short keys where those are clear."""
    common = set[str].intersection(*map(set, rows)) if len(rows) > 1 else set[str]()
    told = [[word for word in words if word not in common] for words in rows]
    keys = {_key(word) for words in told for word in words}
    ends = Counter(key.rpartition(".")[2] for key in keys)
    short = {key: end if ends[end := key.rpartition(".")[2]] == 1 else key for key in keys}
    return [
        " ".join(f"{short[_key(word)]}={word.partition('=')[2]}" for word in words) or f"run {number + 1}"
        for number, words in enumerate(told)
    ]


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _values(words: Sequence[str]) -> dict[str, Any]:
    """The options that the words set, as plain data."""
    parser = OverridesParser.create()
    found = {}
    for override in parser.parse_overrides(list(words)):
        if not override.is_delete():
            found[override.key_or_group.lstrip("+")] = _plain(override.value())
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _tail(config: DictConfig) -> list[str]:
    """What of this command line is not of a job but holds for each: where configs lie, and Hydra's own options."""
    name = config.hydra.job.config_name
    if name == "record":
        do = "record with hydra/launcher=basic or joblib"
        raise ConfigError("hydra/launcher=gpu_queue with record", "trainings", do)
    own = [word for word in OmegaConf.to_container(config.hydra.overrides.hydra) or [] if not _own(str(word))]
    given = [each.path for each in config.hydra.runtime.config_sources if each.provider == "command-line"]
    flags = [] if name == "train" else ["--config-name", str(name)]
    return [*map(str, own), *flags, *(part for path in given for part in ("--config-dir", path))]


def _own(word: str) -> bool:
    key = _key(word)
    return any(key == each or key.startswith((f"{each}.", f"{each}/")) for each in OWN)


def _answer(run: Run, job: Job) -> JobReturn:
    told = JobReturn(overrides=list(job.words), working_dir=str(run.folder), task_name="train")
    result = job.folder.result()
    if (run.outcome is None or run.outcome is Outcome.DONE) and result is not None:
        told.status, told.return_value = JobStatus.COMPLETED, score(result)
        return told
    why = run.error or "it left no result"
    told.status, told.return_value = JobStatus.FAILED, RunError(f"{run.state}: {why} ({run.folder / STDERR})")
    return told
