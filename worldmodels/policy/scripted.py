"""Policies that need no learning."""

# ruff: noqa: ARG002 (a policy that sees nothing still takes what it is shown)

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Memory
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.uninformed import Random

__all__ = ["Constant", "Random"]


class Constant:
    """The same action at every step: a choice, or one number per dimension (one number stands for all)."""

    extras: dict[str, ArraySpec] = {}  # noqa: RUF012

    def __init__(self, spec: EnvSpec, action: int | float | Sequence[int | float] = 0) -> None:
        self.action = np.zeros(spec.action.shape, spec.action.dtype)
        numbers = np.asarray(action)
        fits = numbers.shape in ((), spec.action.shape)
        inside = (
            numbers.min() >= 0 and numbers.max() < spec.action_size if spec.discrete else np.abs(numbers).max() <= 1
        )
        if not fits or not inside or (spec.discrete and numbers != numbers.astype(np.int64)):
            expected = f"an integer in 0..{spec.action_size - 1}" if spec.discrete else f"{spec.action_size} in [-1, 1]"
            raise ConfigError(f"policy.action={action}", expected, "choose an action that the env has")
        self.action[...] = numbers

    def initial(self, width: int) -> None:
        return None

    def act(
        self,
        obs: Obs,
        first: np.ndarray,
        memory: Memory,
        *,
        explore: bool,
        rng: Rng,
    ) -> tuple[np.ndarray, Memory, Obs]:
        return np.repeat(self.action[None], len(first), 0), memory, {}
