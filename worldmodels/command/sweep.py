"""Run a study, or a list of runs, and put all of them into one table.

worldmodels sweep study=<name> [option=<value> ...] [<word of train> ...]
worldmodels sweep config_file=<list.json> [gpus=[0,1]] [option=<value> ...] [<word of train> ...]

    worldmodels sweep study=demo_seeds                           the demo with five seeds, and a table of them
    worldmodels sweep study=model_free_minatar launcher=joblib seeds=[0,1]      on all cores, with two seeds
    worldmodels sweep study=demo_seeds budget.updates=500        any other word is for all runs: each is shorter
    worldmodels sweep study=demo_seeds launcher=submitit_slurm +resources.partition=gpu +resources.timeout_min=60
    worldmodels sweep study=transfer_minatar                     several steps, each begun with the folders of others
    worldmodels sweep study=transfer_minatar dreamer:budget.updates=1000        a word for the runs of one step
    worldmodels sweep config_file=sweep.json gpus=[0,1,2,3] timeout=36000 max_processes_per_gpu=2
    worldmodels sweep --cfg job                                  print all options

A study is a YAML in conf/studies/ (or in <folder>/studies/, with --config-dir <folder>): words for all runs, a grid or
a list, seeds, a launcher; or several steps of such, see docs/transfer.md. A list is a JSON file of objects of dotted
keys, one per run; it runs in the GPU queue unless `launcher` says otherwise. The same command goes on where it stopped:
finished runs are skipped, others continue.

Exit codes: 0 all runs finished, 1 some failed, 2 something to mend, 130 or 143 stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import itertools

from omegaconf import DictConfig

from worldmodels.command import hydra_verb

OPTIONS = {
    *("study", "seeds", "launcher", "resources", "runs", "report", "config_file", "name", "style", "gpus", "timeout"),
    *("output_file", "max_processes_per_gpu", "memory_threshold_gb", "disable_gpu_monitoring", "hydra"),
}


def main(argv: list[str]) -> int:
    asked: list[tuple[DictConfig, list[str]]] = []
    places, own, others = _parted(argv)

    def task(cfg: DictConfig, overrides: list[str]) -> None:
        asked.append((cfg, [_key(word) for word in overrides]))

    code = hydra_verb("sweep", [*places, *own], task, help_text=__doc__ or "")
    return _run(*asked[0], places, others) if asked else code


def _run(cfg: DictConfig, given: list[str], places: list[str], others: list[str]) -> int:
    from worldmodels.command import train
    from worldmodels.launch.pipeline import Pipeline
    from worldmodels.launch.sweep import sweep

    plan = sweep(cfg, given, places=places, words=others)
    code = plan.run(train.main) if isinstance(plan, Pipeline) else train.main([*places, *plan.argv, *others])
    begun = plan.begun if isinstance(plan, Pipeline) else plan.folder.is_dir()
    if cfg.report and code in (0, 1) and begun:
        from worldmodels.command import report

        report.main([str(plan.folder)])
    return code


def _parted(argv: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Where else configs lie, which is for all; the words of a sweep; and those for its runs."""
    places, own, others = list[str](), list[str](), list[str]()
    words = iter(argv)
    for word in words:
        key = _key(word)
        if key in ("--config-dir", "-cd"):
            places += [word] if "=" in word else [word, *itertools.islice(words, 1)]
        elif word.startswith("-") or key in OPTIONS:
            own.append(f"studies@{word}" if key == "study" else word)
        else:
            others.append(word)
    return places, own, others


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].split(".")[0]
