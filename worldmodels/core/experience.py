"""Experience as it is lived (Step), kept (Episode) and learned from (Batch).

The one convention of time, followed everywhere: `action[t]` leaves `obs[t]`; `reward[t]`, `terminated[t]` and
`truncated[t]` come on arriving at `obs[t + 1]`. T actions lie between T + 1 observations. The true final observation
is always kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped
from torch import Tensor

from worldmodels.core.errors import SpecError

Obs = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Step:
    """What N worlds answer to one action each. The arrays are the env's own: copy what you keep past the next step.

    `arrived` is where the action led. `obs` is what the next action leaves: the same, or, where an episode ended, the
    first observation of the next one.
    """

    obs: Obs  # (N, ...)
    arrived: Obs  # (N, ...)
    reward: Float32[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]
    truncated: Bool[np.ndarray, " N"]
    extras: Obs = field(default_factory=dict)  # (N, ...)


@dataclass(frozen=True)
class Episode:
    """An episode, or a piece of one: T actions between T + 1 observations.

    `number` says which episode of its recording it is, `start` at which step of it this piece begins. The pieces of an
    episode share an observation: the last of one is the first of the next. `terminated` says that the world ended it
    (nothing follows), `truncated` that a clock cut it off (something would have followed, so learners bootstrap);
    with neither it is still running.
    """

    obs: Obs  # (T + 1, ...)
    action: np.ndarray  # (T,) or (T, A)
    reward: Float32[np.ndarray, " T"]
    terminated: bool
    truncated: bool
    extras: Obs = field(default_factory=dict)  # (T, ...)
    source: Mapping[str, str | int | float] = field(
        default_factory=dict
    )  # env, seed, policy: whatever tells its origin
    number: int = 0
    start: int = 0

    def __post_init__(self) -> None:
        steps = len(self.action)
        for name, frames in self.obs.items():
            if len(frames) != steps + 1:
                raise SpecError(
                    f"obs[{name!r}] has {len(frames)} entries for {steps} actions",
                    f"{steps + 1} entries",
                    "keep the observation after the last action",
                )
        for name, array in {"reward": self.reward, **self.extras}.items():
            if len(array) != steps:
                raise SpecError(f"{name} has {len(array)} entries for {steps} actions", f"{steps}", "give one per step")

    def __len__(self) -> int:
        """Steps, not observations."""
        return len(self.action)

    @property
    def ended(self) -> bool:
        return self.terminated or self.truncated


def join(pieces: Sequence[Episode]) -> Episode:
    """One episode from its consecutive pieces."""
    first, last = pieces[0], pieces[-1]
    for before, after in pairwise(pieces):
        if after.start != before.start + len(before) or after.number != before.number:
            raise SpecError(
                f"piece of episode {after.number} at step {after.start} follows episode {before.number} up to step "
                f"{before.start + len(before)}",
                "consecutive pieces of one episode",
                "sort the pieces by start, and take only those of one episode",
            )
    whole = {name: [p.obs[name][:-1] for p in pieces[:-1]] + [last.obs[name]] for name in first.obs}
    return replace(
        last,
        obs={name: np.concatenate(parts) for name, parts in whole.items()},
        action=np.concatenate([p.action for p in pieces]),
        reward=np.concatenate([p.reward for p in pieces]),
        extras={name: np.concatenate([p.extras[name] for p in pieces]) for name in first.extras},
        source=first.source,
        start=first.start,
    )


@dataclass(frozen=True)
class Batch:
    """B windows of T steps and T + 1 observations.

    `first[b, t]` says that `obs[b, t]` opens an episode: nothing before it belongs to it. A window that runs over an
    episode's end holds, at the end, one step that was never taken, from the final observation to the next first one;
    there, and on padding after the last step, `mask` is False and action, reward and flags are zero. `key` names the
    windows for samplers and writers: (episode number, first step). `weight` corrects for uneven sampling. Where `known`
    is True, `recalled` is what the learner believed at `obs[b, 0]` when it was there before, in the form in which it
    told so (see `protocols.Learner`); elsewhere it holds anything.
    """

    obs: Mapping[str, Shaped[Tensor, "B _ ..."]]  # (B, T + 1, ...); T is not known yet when this line is checked
    action: Shaped[Tensor, "B T *A"]
    reward: Float32[Tensor, "B T"]
    terminated: Bool[Tensor, "B T"]
    truncated: Bool[Tensor, "B T"]
    first: Bool[Tensor, "B T+1"]
    mask: Bool[Tensor, "B T"]
    extras: Mapping[str, Shaped[Tensor, "B T ..."]] = field(default_factory=dict)
    key: Int64[Tensor, "B 2"] | None = None
    weight: Float32[Tensor, " B"] | None = None
    recalled: Mapping[str, Shaped[Tensor, "B ..."]] = field(default_factory=dict)
    known: Bool[Tensor, " B"] | None = None

    def map(self, f: Any) -> Batch:
        """The same batch with f applied to every tensor."""

        def apply(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: f(tensor) for name, tensor in value.items()}
            return None if value is None else f(value)

        return replace(self, **{x.name: apply(getattr(self, x.name)) for x in fields(self)})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return self.map(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        return self.map(lambda x: x.pin_memory())
