"""The contracts between layers. Whoever meets one may join; nothing needs to inherit from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.experience import Batch, Obs, Step
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec

B_ = TypeVar("B_", bound=Belief)
Memory = Any  # what a policy remembers of N episodes: a tree of tensors or arrays, opaque to everybody else


@runtime_checkable
class Resumable(Protocol):
    """Can be stopped between two updates and go on as if nothing had happened.

    A snapshot holds tensors, numbers, strings, None, lists and dicts only (see `core.snapshot` for other things).
    """

    def snapshot(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class World(Protocol):
    """One world, one episode at a time."""

    spec: EnvSpec
    resumable: bool

    def reset(self, seed: int | None = None) -> Obs:
        """First observation of a new episode. A seed restarts the world's randomness; without one it goes on."""
        ...

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, Obs]:
        """Observation on arrival, reward, terminated, truncated, extras."""
        ...

    def snapshot(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class Env(Protocol):
    """N worlds as one. A world whose episode ended starts the next one within the same step."""

    spec: EnvSpec
    width: int
    resumable: bool  # a snapshot brings back exactly this moment

    def reset(self, seeds: Sequence[int]) -> Obs:
        """First observations (N, ...). World n draws all its randomness, over all its episodes, from seeds[n]."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """action: (N,) int64, or (N, A) float32 in [-1, 1]."""
        ...

    def snapshot(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class EnvRecipe(Protocol):
    """How to make an env: what `conf/env/*.yaml` becomes. Cheap to hold, picklable, no world is running yet."""

    def spec(self) -> EnvSpec: ...

    def make(self, width: int, workers: int = 0) -> Env:
        """Worlds side by side, in this process (workers = 0) or spread over that many subprocesses."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Observation to action, for N worlds at once, with a memory that the caller keeps."""

    def initial(self, width: int) -> Memory: ...

    def act(
        self, obs: Obs, first: np.ndarray, memory: Memory, *, explore: bool, rng: Rng
    ) -> tuple[np.ndarray, Memory, Obs]:
        """Actions (N,) or (N, A), the new memory, and extras (N, ...) worth keeping, such as log-probabilities.

        first: (N,) bool, the observation opens an episode, so the memory of that world is stale.
        """
        ...


@runtime_checkable
class Telling(Protocol):
    """A policy that can tell what it believes."""

    def telling(self) -> Policy:
        """The same policy, whose extras `belief.<name>` are what `Learner.beliefs` gives of a moment."""
        ...


@runtime_checkable
class Learner(Protocol):
    """What a stream of experience may ask of the stage that learns from it."""

    def policy(self) -> Policy: ...

    def prepare(self, rollout: Batch) -> Batch:
        """An on-policy rollout with what the losses need beside it, such as advantages. Called once per rollout."""
        ...

    def feedback(self) -> Tensor | None:
        """How surprising each window of the last batch was, (B,); None if the stage does not say."""
        ...

    def beliefs(self) -> Mapping[str, Tensor]:
        """What it believed at each moment of the last batch, by name (B, T + 1, ...).

        Asked only where a stream hands beliefs back as `Batch.recalled`.
        """
        ...


@runtime_checkable
class Rating(Protocol):
    """A learner that can tell how surprising a window is before it learns from it."""

    def surprise_of(self, batch: Batch) -> Tensor:
        """As `Learner.feedback` would say of these windows (B,)."""
        ...


@runtime_checkable
class WorldModel(Protocol[B_]):
    """encode sees; observe acts with open eyes; imagine acts with closed eyes; decode tells.

    Every method takes one moment with any leading dimensions; time lives in `model.unroll`. Actions are float vectors
    (..., A): one-hot, or continuous in [-1, 1]; all zeros where nothing was done yet.
    """

    def initial(self, batch: int) -> B_: ...

    def encode(self, obs: Mapping[str, Tensor]) -> Tensor: ...

    def observe(self, belief: B_, action: Tensor, embed: Tensor, *, rng: torch.Generator | None = None) -> B_: ...

    def imagine(self, belief: B_, action: Tensor, *, rng: torch.Generator | None = None) -> B_: ...

    def decode(self, belief: B_) -> Prediction: ...
