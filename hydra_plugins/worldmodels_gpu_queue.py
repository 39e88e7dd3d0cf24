"""`hydra/launcher=gpu_queue`; Hydra looks for plugins in this namespace only. See worldmodels.launch.queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GpuQueueLauncher(Launcher):
    """Its options are the keys of conf/hydra/launcher/gpu_queue.yaml."""

    takes_finished = True  # they stand in its file of results, too

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:  # noqa: ARG002
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        from worldmodels.launch.queue.launcher import launch

        return launch(self.options, self.hydra_context, self.config, job_overrides)
