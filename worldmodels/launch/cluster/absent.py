"""What stands in for hydra-submitit-launcher where it is not installed, for nobody may want it."""

from __future__ import annotations

from typing import Any

from hydra.plugins.launcher import Launcher

from worldmodels.core.errors import MissingExtraError


class BaseSubmititLauncher(Launcher):
    """Says what to install as soon as it is chosen."""

    def __init__(self, **_: Any) -> None:
        """Takes what the launcher would."""

    def setup(self, **_: Any) -> None:
        raise MissingExtraError("hydra-submitit-launcher", "cluster")

    def __call__(self, *_: Any) -> Any:
        raise NotImplementedError
