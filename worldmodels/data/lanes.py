"""The open pieces of N worlds, in preallocated arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldmodels.core.experience import Episode, Obs
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec


class Lanes:
    """Where the experience of N worlds is written, one row per world and step, until a piece of it is cut off.

    Lane n owns the rows from `base[n]` on, `piece + 1` of them. A row holds an observation and what was done on seeing
    it; `row[n]` is the row of the present observation.
    """

    def __init__(self, spec: EnvSpec, extras: Mapping[str, ArraySpec], width: int, piece: int) -> None:
        rows = width * (piece + 1)
        self.width, self.piece = width, piece
        self.obs = {name: array.zeros(rows) for name, array in spec.obs.items()}
        self.action = spec.action.zeros(rows)
        self.reward = np.zeros(rows, np.float32)
        self.extras = {name: array.zeros(rows) for name, array in extras.items()}
        self.base = np.arange(width) * (piece + 1)
        self.row = self.base.copy()
        self.number = [0] * width
        self.start = [0] * width
        self._room = piece  # a lower bound of the steps that the fullest lane can still take

    @property
    def open(self) -> int:
        """Steps that no piece holds yet."""
        return int((self.row - self.base).sum())

    def begin(self, lanes: Sequence[int], obs: Obs) -> None:
        """Write the first observations of new pieces: obs (N, ...), of which only those of `lanes` count."""
        chosen = np.asarray(lanes)
        rows = self.base[chosen]
        for name, frames in self.obs.items():
            frames[rows] = obs[name][chosen]

    def write(self, action: np.ndarray, reward: np.ndarray, arrived: Obs, extras: Obs) -> None:
        """One step of every lane. The last line commits it: an interrupt before that loses the step, and only it."""
        row, after = self.row, self.row + 1
        self.action[row] = action
        self.reward[row] = reward
        for name, kept in self.extras.items():
            kept[row] = extras.get(name, 0)
        for name, frames in self.obs.items():
            frames[after] = arrived[name]
        self.row = after

    def full(self) -> list[int]:
        """Lanes whose piece has reached its length. Looks only when one can have."""
        self._room -= 1
        if self._room > 0:
            return []
        steps = self.row - self.base
        lanes = np.flatnonzero(steps >= self.piece).tolist()
        open_steps = np.where(steps >= self.piece, 0, steps)
        self._room = self.piece - int(open_steps.max())
        return lanes

    def cut(self, lane: int, source: Mapping[str, str | int | float], ending: tuple[bool, bool]) -> Episode:
        """The open piece of a lane, ending = (terminated, truncated). The lane then waits for `begin`."""
        base, row = int(self.base[lane]), int(self.row[lane])
        piece = Episode(
            {name: frames[base : row + 1].copy() for name, frames in self.obs.items()},
            self.action[base:row].copy(),
            self.reward[base:row].copy(),
            *ending,
            {name: kept[base:row].copy() for name, kept in self.extras.items()},
            source,
            self.number[lane],
            self.start[lane],
        )
        self.start[lane] += row - base
        self.row[lane] = base
        return piece

    def clear(self) -> None:
        """Drop all open pieces. The lanes then wait for `begin`."""
        self.row, self._room = self.base.copy(), self.piece

    def snapshot(self) -> dict[str, Any]:
        """Open rows only, lane after lane."""
        rows = self._open_rows()
        arrays = {"action": self.action, "reward": self.reward}
        for array in (*arrays.values(), *self.extras.values()):
            array[self.row] = 0  # nothing was done there yet: what stands there is of an older piece
        return {
            "steps": (self.row - self.base).tolist(),
            "number": list(self.number),
            "start": list(self.start),
            "room": self._room,
            "obs": freeze({name: frames[rows] for name, frames in self.obs.items()}),
            "extras": freeze({name: kept[rows] for name, kept in self.extras.items()}),
            **{name: freeze(array[rows]) for name, array in arrays.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.row = self.base + np.asarray(state["steps"])
        self.number, self.start = list(state["number"]), list(state["start"])
        self._room = int(state["room"])
        rows = self._open_rows()
        obs, extras = thaw(state["obs"]), thaw(state["extras"])
        for name, frames in self.obs.items():
            frames[rows] = obs[name]
        for name, kept in self.extras.items():
            kept[rows] = extras[name]
        self.action[rows], self.reward[rows] = thaw(state["action"]), thaw(state["reward"])

    def present(self) -> dict[str, np.ndarray]:
        """The present observations, (N, ...), copied."""
        return {name: frames[self.row] for name, frames in self.obs.items()}

    def _open_rows(self) -> np.ndarray:
        spans = zip(self.base, self.row, strict=True)
        return np.concatenate([np.arange(base, row + 1) for base, row in spans])
