"""Our launchers by way of submitit, for Hydra, which looks for plugins in this namespace only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn

if TYPE_CHECKING:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
else:
    try:
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
    except ModuleNotFoundError:  # the extra `cluster` is not installed
        from worldmodels.launch.cluster.absent import BaseSubmititLauncher


class _Submitit(BaseSubmititLauncher):
    """One result per job, in order, whatever happens to some of them."""

    _EXECUTOR = ""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from worldmodels.launch.cluster.launcher import launch

        return launch(self, job_overrides, initial_job_idx)

    def __call__(self, sweep_overrides: list[str], *args: Any) -> JobReturn:
        from worldmodels.launch.cluster.worker import work

        # Bound here: Hydra's scan for plugins may execute this module once more, and then `_Submitit` is another class.
        run = super().__call__
        return work(self, sweep_overrides, lambda: run(sweep_overrides, *args))


class LocalLauncher(_Submitit):
    """`hydra/launcher=submitit_local`: processes of this machine, all at once."""

    _EXECUTOR = "local"


class SlurmLauncher(_Submitit):
    """`hydra/launcher=submitit_slurm`: arrays of SLURM."""

    _EXECUTOR = "slurm"


class LsfLauncher(_Submitit):
    """`hydra/launcher=submitit_lsf`: arrays of LSF."""

    _EXECUTOR = "lsf"
