"""A search by Optuna over runs that survive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from worldmodels.core.errors import MissingExtraError
from worldmodels.launch import console, multirun, summary
from worldmodels.launch.score import best


def search(
    options: Mapping[str, Any], hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
) -> Search:
    """Optuna's sweeper with a launcher that keeps account of runs."""
    try:
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
    except ModuleNotFoundError as error:
        raise MissingExtraError("hydra-optuna-sweeper", "optuna") from error
    sweeper = OptunaSweeper(**options)
    sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
    assert sweeper.sweeper.launcher is not None, "set up above"
    kind = str(config.hydra.runtime.choices["hydra/launcher"])
    sweeper.sweeper.launcher = trials = Trials(sweeper.sweeper.launcher, kind, hydra_context, config)
    return Search(sweeper, trials)


class Search:
    """The whole search, and what it says at its end."""

    def __init__(self, sweeper: Any, trials: Trials) -> None:
        self.sweeper, self.trials = sweeper, trials

    def sweep(self, arguments: list[str]) -> Any:
        answer = self.sweeper.sweep(arguments)
        done = self.trials.done
        summary.show([job for job, _ in done.values()], [each for _, each in done.values()])
        scores = {folder: each.return_value for folder, (_, each) in done.items() if _fine(each)}
        if not scores:
            raise SystemExit(1)
        winner = best(scores, maximize=str(self.sweeper.sweeper.direction).endswith("maximize"))
        console.say(f"best     {scores[winner]:.3f}  {winner}")
        return answer


class Trials(Launcher):
    """Hands trials to a launcher by way of `multirun.run`; the same trial twice is one run."""

    def __init__(self, inner: Launcher, kind: str, hydra_context: HydraContext, config: DictConfig) -> None:
        self.inner, self.kind = inner, kind
        self.compose = partial(multirun.composed, hydra_context.config_loader, config)
        self.done: dict[Path, tuple[multirun.Job, JobReturn]] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Done by whoever made the inner launcher."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        lines = list(dict.fromkeys(tuple(words) for words in job_overrides))
        jobs = multirun.plan(self.compose, lines)
        results = multirun.run(self.inner, self.kind, jobs)
        self.done |= {job.folder.path: (job, each) for job, each in zip(jobs, results, strict=True)}
        told = dict(zip(lines, results, strict=True))
        return [told[tuple(words)] for words in job_overrides]


def _fine(result: JobReturn) -> bool:
    return result.status == JobStatus.COMPLETED and result.return_value == result.return_value
