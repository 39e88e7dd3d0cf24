"""N worlds as one, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from worldmodels.core.errors import ResumeError, SpecError
from worldmodels.core.experience import Obs, Step
from worldmodels.core.protocols import World
from worldmodels.core.spec import ArraySpec, EnvSpec, describe

Rows = list[tuple[str, np.ndarray]]  # one world's views into the buffers
Allocate = Callable[[tuple[int, ...], str], np.ndarray]


@dataclass(frozen=True)
class Buffers:
    """The arrays that N worlds write and a `Step` shows. They are made once and overwritten at every step."""

    obs: dict[str, np.ndarray]  # (N, ...)
    arrived: dict[str, np.ndarray]  # (N, ...), meaningful only where an episode has just ended
    reward: Float32[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]
    truncated: Bool[np.ndarray, " N"]
    extras: dict[str, np.ndarray]  # (N, ...)

    @staticmethod
    def make(spec: EnvSpec, width: int, allocate: Allocate = np.zeros) -> Buffers:
        def arrays(specs: Mapping[str, ArraySpec]) -> dict[str, np.ndarray]:
            return {name: allocate((width, *one.shape), one.dtype) for name, one in specs.items()}

        return Buffers(
            obs=arrays(spec.shown),
            arrived=arrays(spec.shown),
            reward=allocate((width,), "float32"),
            terminated=allocate((width,), "bool"),
            truncated=allocate((width,), "bool"),
            extras=arrays(spec.extras),
        )

    def lanes(self, part: slice) -> Buffers:
        """Views of some of the worlds."""

        def cut(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: array[part] for name, array in arrays.items()}

        flags = (self.reward[part], self.terminated[part], self.truncated[part])
        return Buffers(cut(self.obs), cut(self.arrived), *flags, cut(self.extras))

    def keep_arrivals(self) -> None:
        """Copy what was seen on arrival, before first observations of new episodes overwrite it."""
        for name, array in self.obs.items():
            self.arrived[name][...] = array

    def step(self, ended: bool) -> Step:
        arrived = self.arrived if ended else self.obs
        return Step(self.obs, arrived, self.reward, self.terminated, self.truncated, self.extras)


class SerialEnv:
    """N worlds stepped one after the other. Meets `core.protocols.Env`.

    `step(...).arrived is step(...).obs` where no episode ended, so that nobody copies the same frames twice.
    """

    def __init__(
        self, make_world: Callable[[int], World], width: int, buffers: Buffers | None = None, first: int = 0
    ) -> None:
        """`make_world` is given the number of the lane; they count from `first` on."""
        self.worlds = [make_world(first + n) for n in range(width)]
        self.spec, self.width = self.worlds[0].spec, width
        self.shown = self.spec.shown
        self.resumable = all(world.resumable for world in self.worlds)
        self.buffers = Buffers.make(self.spec, width) if buffers is None else buffers
        # Views are made once: slicing a row anew costs more than copying a small observation into it.
        self._rows = [_rows(self.buffers.obs, n) for n in range(width)]
        self._extras = [_rows(self.buffers.extras, n) for n in range(width)]

    def reset(self, seeds: Sequence[int]) -> Obs:
        check_lanes("seeds", len(seeds), self.width)
        for world, rows, seed in zip(self.worlds, self._rows, seeds, strict=True):
            self._write_first(rows, world.reset(int(seed)))
        return self.buffers.obs

    def step(self, action: np.ndarray) -> Step:
        return self.buffers.step(self.advance(action))

    def advance(self, action: np.ndarray) -> bool:
        """Take one step, write it into the buffers, and say whether any episode ended."""
        # Measured: at 2 us a step for a small world, each indexing and each scalar written to an array counts.
        check_lanes("actions", len(action), self.width)
        buffers, rewards, over = self.buffers, [], []
        buffers.terminated.fill(False)
        buffers.truncated.fill(False)
        moves = action.tolist() if self.spec.discrete else action
        for n, (world, rows, move) in enumerate(zip(self.worlds, self._rows, moves, strict=True)):
            obs, reward, terminated, truncated, extras = world.step(move)
            rewards.append(reward)
            for name, row in rows:
                row[...] = obs[name]
            if self.spec.extras:
                for name, row in self._extras[n]:
                    row[...] = extras[name]
            if terminated or truncated:
                buffers.terminated[n], buffers.truncated[n] = terminated, truncated
                over.append(n)
        buffers.reward[...] = rewards
        if over:
            self._start_anew(over)
        return bool(over)

    def _start_anew(self, over: list[int]) -> None:
        self.buffers.keep_arrivals()
        for n in over:
            self._write_first(self._rows[n], self.worlds[n].reset())

    def _write_first(self, rows: Rows, obs: Obs) -> None:
        """Copy a first observation, and check it: `row[...] = x` would stretch or round a wrong one in silence."""
        for name, row in rows:
            spec = self.shown[name]
            array = np.asarray(obs[name]) if name in obs else None
            if array is None or array.shape != spec.shape or array.dtype != spec.dtype:
                found = "nothing" if array is None else f"{array.dtype} {array.shape}"
                raise SpecError(
                    f"{self.spec.name}: obs[{name!r}] is {found}",
                    describe(spec),
                    "let the world return what its spec declares",
                )
            row[...] = array

    def snapshot(self) -> dict[str, Any]:
        check_resumable(self.resumable, self.spec)
        return {"worlds": [world.snapshot() for world in self.worlds]}

    def restore(self, state: dict[str, Any]) -> None:
        check_restore(len(state["worlds"]), self.width)
        for world, its in zip(self.worlds, state["worlds"], strict=True):
            world.restore(its)

    def close(self) -> None:
        for world in self.worlds:
            world.close()


def _rows(arrays: dict[str, np.ndarray], n: int) -> Rows:
    return [(name, array[n, ...]) for name, array in arrays.items()]


def check_lanes(what: str, found: int, width: int) -> None:
    """SpecError unless there is one of them for each world."""
    if found != width:
        raise SpecError(f"{found} {what} for {width} worlds", f"{width} {what}", "give one per world")


def check_resumable(resumable: bool, spec: EnvSpec) -> None:
    """ResumeError if the worlds can not save themselves."""
    if not resumable:
        raise ResumeError(
            f"{spec.name} can not save its state",
            "a world that says resumable = True",
            "end the open episodes as truncated and start new ones",
        )


def check_restore(found: int, width: int) -> None:
    """ResumeError unless a snapshot is of an env of this width."""
    if found != width:
        raise ResumeError(f"a snapshot of {found} worlds", f"one of {width}", f"make the env with width={found}")
