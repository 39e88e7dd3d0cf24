"""Acting at random: what a replay does before it has learned anything. `policy=random` is the same class."""

# ruff: noqa: ARG002 (a policy that sees nothing still takes what it is shown)

from __future__ import annotations

import numpy as np

from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Memory
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec


class Random:
    """Uniform over the choices, or over [-1, 1] in every dimension. Sees nothing and remembers nothing."""

    extras: dict[str, ArraySpec] = {}  # noqa: RUF012 (nothing is ever added)

    def __init__(self, spec: EnvSpec) -> None:
        self.spec = spec

    def initial(self, width: int) -> None:
        return None

    def act(
        self, obs: Obs, first: np.ndarray, memory: Memory, *, explore: bool, rng: Rng
    ) -> tuple[np.ndarray, Memory, Obs]:
        if self.spec.discrete:
            # A third of the time of `integers`, which counts where worlds are fast; as even, to one part in 2**50.
            return (rng.numpy.random(len(first)) * self.spec.action_size).astype(np.int64), memory, {}
        return rng.numpy.random((len(first), self.spec.action_size), np.float32) * 2 - 1, memory, {}
