"""How to make a world: what `conf/env/*.yaml` becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from worldmodels.core.errors import ConfigError
from worldmodels.core.protocols import Env, World
from worldmodels.core.spec import EnvSpec
from worldmodels.env.subprocess import SubprocessEnv
from worldmodels.env.vector import SerialEnv


@dataclass(frozen=True)
class Recipe(ABC):
    """Options of a world, checked when they are set. Cheap, picklable and comparable; nothing runs yet.

    A new world is a frozen dataclass below this one with a `world` method, and one YAML with its `_target_` and fields.
    `UNIFYING`: options that make games alike in "observations", "actions" or "extras and views", so that they can be
    mixed.
    """

    UNIFYING: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @abstractmethod
    def world(self) -> World:
        """One running world, the caller's to close."""

    def lane(self, number: int) -> World:  # noqa: ARG002 (all lanes are alike, unless a recipe says otherwise)
        """The world of one lane of a vector env, counted from 0."""
        return self.world()

    def spec(self) -> EnvSpec:
        """What a learner may know of the world. Starts one and closes it, unless a recipe knows better."""
        world = self.world()
        try:
            return world.spec
        finally:
            world.close()

    def make(self, width: int, workers: int = 0) -> Env:
        """`width` worlds as one, in this process, or spread over up to `workers` subprocesses with equal results."""
        check_size(width, workers)
        if workers == 0:
            return SerialEnv(self.lane, width)
        return SubprocessEnv(self.lane, self.spec(), width, min(workers, width))


def check_size(width: int, workers: int) -> None:
    """ConfigError unless an env of that size can be made."""
    if width < 1:
        raise ConfigError(f"an env of width {width}", "at least one world", "set width to 1 or more")
    if workers < 0:
        raise ConfigError(f"workers={workers}", "0 (this process) or more", "set workers to 0 or more")
