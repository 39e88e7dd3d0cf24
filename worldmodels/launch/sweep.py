"""A study, or a JSON list of runs, as one command line of `train`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from worldmodels.core.errors import ConfigError
from worldmodels.core.files import write_text
from worldmodels.launch.compose import plain
from worldmodels.launch.json_list import word, words
from worldmodels.launch.listed import combinations, with_seeds
from worldmodels.launch.pipeline import Pipeline, pipeline

STUDY = {"name", "words", "grid", "list", "seeds", "launcher", "resources"}
OF_QUEUE = {  # what they are called for a study
    "gpus": "+resources.gpus",
    "timeout": "+resources.job_timeout_s",
    "output_file": "+resources.results_file",
    "max_processes_per_gpu": "+resources.slots_per_gpu",
    "memory_threshold_gb": "+resources.max_used_gb",
    "disable_gpu_monitoring": "+resources.probe",
}
OF_LISTS = {  # the same, where there is such a thing
    **OF_QUEUE,
    "style": "+resources.style",
    "name": "runs=<folder>, or another study,",
}
SETTLED = {"seed": "seeds=[...]", "paths.runs": "runs=<folder>"}  # what differs between runs, or says where all are


@dataclass(frozen=True)
class Sweep:
    """What to call `train` with, and where its runs will lie."""

    argv: list[str]
    folder: Path


def sweep(
    cfg: DictConfig, given: Collection[str] = (), *, places: Sequence[str] = (), words: Sequence[str] = ()
) -> Sweep | Pipeline:
    """From the config of `conf/sweep.yaml`; ConfigError for what can not be a sweep, before anything starts.

    given: the options that the command line sets. Of those some have no say in a study, and are refused. places: where
    else configs lie, and words of the runs: of a study of steps, which does not hand them on as they are.
    """
    _demand_free(words)
    config = plain(cfg)
    study, file = config.get("study"), config["config_file"]
    if (study is None) == (file is None):
        raise ConfigError(
            "neither a study nor a list of runs" if file is None else "a study and a list of runs",
            "study=<name> or config_file=<list.json>",
            "give one of them; conf/studies/ holds the studies",
        )
    if study is None:
        return _of_list(config, given)
    if idle := [key for key in OF_LISTS if key in given]:
        do = "; ".join(f"instead of {key} give {OF_LISTS[key]}" for key in idle)
        raise ConfigError(
            f"{', '.join(idle)} with a study", "options of a study", f"{do}; they are for config_file=..."
        )
    if "steps" in study:
        return pipeline(config, study, _launching(config, study), places, words)
    return _of_study(config, study)


def _demand_free(words: Sequence[str]) -> None:
    """ConfigError for words that the runs of a sweep have of their own: ignored, or runs would not be found again."""
    for each in words:
        key = each.partition("=")[0].rpartition(":")[2].lstrip("+~")
        if key in SETTLED:
            raise ConfigError(f"{each} as a word for all runs of a sweep", SETTLED[key], f"give {SETTLED[key]}")


def _of_study(config: Mapping[str, Any], study: Mapping[str, Any]) -> Sweep:
    if set(study) != STUDY:
        few, many = sorted(STUDY - set(study)), sorted(set(study) - STUDY)
        lacks = [*([f"lacks {', '.join(few)}"] if few else []), *([f"has {', '.join(many)}"] if many else [])]
        steps = [*([f"add {', '.join(few)}"] if few else []), *([f"remove {', '.join(many)}"] if many else [])]
        raise ConfigError(
            f"the study {' and '.join(lacks)}", f"exactly the keys {', '.join(sorted(STUDY))}", " and ".join(steps)
        )
    folder = Path(config["runs"], str(study["name"]))
    lines = study_lines({**study, "seeds": config["seeds"] if config["seeds"] is not None else study["seeds"]})
    file = folder / ".runs.json"
    write_text(file, json.dumps(lines, indent=1) + "\n")
    argv = _train(config, str(study["name"]), config["launcher"] or study["launcher"])
    options = _resources(config, study)
    # The study's words come before those of the command line, which may say otherwise.
    return Sweep([*argv, *_listed("words", file), *_options(options), *study["words"]], folder)


def _launching(config: Mapping[str, Any], study: Mapping[str, Any]) -> list[str]:
    """What every multirun of a study of steps is told of its launcher."""
    launcher = config["launcher"] or study.get("launcher") or "gpu_queue"
    return ["hydra/sweeper=json_list", f"hydra/launcher={launcher}", *_options(_resources(config, study))]


def _resources(config: Mapping[str, Any], study: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the launcher. Those of the study are for its own one: another would not know them."""
    own = config["launcher"] in (None, study.get("launcher"))
    return {**((study.get("resources") or {}) if own else {}), **config["resources"]}


def study_lines(study: Mapping[str, Any]) -> list[list[str]]:
    """The words in which the runs of a study differ: its list, and every combination of its grid, with every seed."""
    return with_seeds([words(row) for row in combinations(study["grid"], study["list"])], study["seeds"])


def _of_list(config: Mapping[str, Any], given: Collection[str]) -> Sweep:
    launcher = config["launcher"] or "gpu_queue"
    if launcher != "gpu_queue" and (idle := [key for key in OF_QUEUE if key in given]):
        raise ConfigError(
            f"{', '.join(idle)} with launcher={launcher}",
            "options of the GPU queue with launcher=gpu_queue alone",
            f"leave out {', '.join(idle)}, or launcher={launcher}; its own options are +resources.<option>=...",
        )
    argv = _train(config, config["name"], launcher)
    argv += [*_listed("file", Path(config["config_file"])), f"hydra.sweeper.style={config['style']}"]
    if config["seeds"] is not None:
        argv.append(f"hydra.sweeper.seeds={word(config['seeds'])}")
    queue = launcher == "gpu_queue"
    argv += _options({**(_queue(config) if queue else {}), **config["resources"]})
    return Sweep(argv, Path(config["runs"], config["name"]))


def _queue(config: Mapping[str, Any]) -> dict[str, Any]:
    """The original tool's flags as options of the queue."""
    monitored = not config["disable_gpu_monitoring"]
    return {
        "gpus": config["gpus"],
        "job_timeout_s": config["timeout"],
        "results_file": config["output_file"],
        "slots_per_gpu": config["max_processes_per_gpu"],
        **({"max_used_gb": config["memory_threshold_gb"]} if monitored else {"probe": "none"}),
    }


def _train(config: Mapping[str, Any], name: str, launcher: str) -> list[str]:
    return [
        "-m",
        "hydra/sweeper=json_list",
        f"hydra/launcher={launcher}",
        f"study={word(name)}",
        f"paths.runs={word(str(config['runs']))}",
    ]


def _listed(key: str, file: Path) -> list[str]:
    return [f"hydra.sweeper.{key}={word(str(file))}"]


def _options(options: Mapping[str, Any]) -> list[str]:
    return [f"hydra.launcher.{key}={word(value)}" for key, value in options.items()]
