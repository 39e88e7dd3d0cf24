"""Our sweepers for Hydra, which looks for plugins in this namespace only. `grid` is the default of `train -m`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _Ours(Sweeper):
    """Runs all jobs whatever happens to some, and ends with a table and an exit code that is not 0 if any failed."""

    def __init__(self, max_batch_size: int | None = None) -> None:
        self.max_batch_size = max_batch_size
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.settings, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    @abstractmethod
    def words(self, arguments: list[str]) -> Sequence[Sequence[str]]:
        """The command line of each job."""

    def sweep(self, arguments: list[str]) -> Any:
        from worldmodels.launch import multirun, summary

        assert self.launcher is not None, "Hydra calls setup first"
        kind = str(self.settings.hydra.runtime.choices["hydra/launcher"])
        jobs = multirun.plan(self._compose, self.words(arguments))
        results = multirun.run(self.launcher, kind, jobs, at_once=self.max_batch_size)
        summary.show(jobs, results)
        if multirun.failures(jobs, results):
            raise SystemExit(1)
        return results

    def _compose(self, words: list[str]) -> DictConfig:
        from worldmodels.launch.multirun import composed

        return composed(self.loader, self.settings, words)


class Grid(_Ours):
    """Every combination of the words that have several values, `a=1,2 b=range(3)`."""

    def words(self, arguments: list[str]) -> Sequence[Sequence[str]]:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.override_parser.overrides_parser import OverridesParser

        parser = OverridesParser.create(config_loader=self.loader)
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(arguments), None)
        return jobs


class JsonList(_Ours):
    """The runs that a file lists; the command line's words hold for all of them.

    file: a JSON list of objects of dotted keys. words: instead of it, a JSON list of lists of words.
    seeds: each object with each of these seeds.
    style: `safe` names a run after its words; `seed` by the rules of `launch.naming`, as `name=...`.
    """

    def __init__(
        self,
        file: str | None,
        words: str | None = None,
        seeds: Sequence[int] | None = None,
        style: str = "safe",
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__(max_batch_size)
        self.file, self.listed, self.seeds, self.style = file, words, seeds, style

    def words(self, arguments: list[str]) -> Sequence[Sequence[str]]:
        from worldmodels.core.errors import ConfigError
        from worldmodels.launch.listed import from_objects, from_words

        if self.listed is not None:
            return from_words(self.listed, arguments)
        if self.file is None:
            raise ConfigError("no list of runs", "a JSON file", "set hydra.sweeper.file=<list.json>")
        return from_objects(self.file, arguments, seeds=self.seeds, style=self.style, compose=self._compose)


class Optuna(Sweeper):
    """The search of hydra-optuna-sweeper; finished runs are not repeated, and a failed one is only a failed trial.

    Its sampler is seeded, so the same command proposes the same trials until it comes to those that are left.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from worldmodels.launch.search import search

        self.search = search(self.options, hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        return self.search.sweep(arguments)
