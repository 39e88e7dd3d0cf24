"""The block that N worlds are living through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from worldmodels.core.experience import Obs, Step
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.block import Block, Buffer, Source, Standing

_SPARE = 2  # buffers kept for later; more are never in use at once


class Lanes:
    """Takes down steps until a block is full or asked for. A step costs one copy per array and no more."""

    def __init__(self, spec: EnvSpec, extras: Mapping[str, ArraySpec], width: int, piece: int) -> None:
        self.spec, self.extras, self.width, self.piece = spec, extras, width, piece
        self.spare: list[Buffer] = []
        self.buffer, self.steps = Buffer(spec, extras, width, piece), 0
        self.finals: list[tuple[int, dict[str, np.ndarray]]] = []  # step, and what was seen at the ends in it
        self.standing = Standing(np.arange(0), np.arange(0), np.zeros(0), 0)

    def begin(self, obs: Obs, number: int) -> None:
        """New episodes in all lanes, numbered from `number` on. What is open is dropped."""
        lanes = np.arange(self.width)
        self.standing = Standing(lanes + number, np.zeros_like(lanes), np.zeros(self.width), number + self.width)
        self.steps, self.finals = 0, []
        for name, moments in self.buffer.obs:
            moments[0][...] = obs[name]

    @property
    def ended(self) -> int:
        """Episodes that ended in the open block."""
        done = np.s_[:, : self.steps]
        flags = (self.buffer.arrays[name][done] for name in ("terminated", "truncated"))
        return int(np.count_nonzero(np.logical_or(*flags)))

    def clear(self) -> None:
        """Drop what is open."""
        self.steps, self.finals = 0, []

    def write(self, action: np.ndarray, moment: Step, extras: Obs, over: np.ndarray) -> int:
        """One step of every lane; how many the block has. An interrupt before the end loses the step, and only it."""
        t, buffer = self.steps, self.buffer
        buffer.action[t][...] = action
        buffer.reward[t][...] = moment.reward
        buffer.terminated[t][...] = moment.terminated
        buffer.truncated[t][...] = moment.truncated
        for name, moments in buffer.extras:
            moments[t][...] = extras.get(name, 0)
        for name, moments in buffer.obs:
            moments[t + 1][...] = moment.obs[name]
        if b"\1" in over.tobytes():  # ten times as fast as over.any()
            self.finals.append((t, {name: moment.arrived[name].compress(over, 0) for name in self.spec.obs}))
        self.steps = t + 1
        return self.steps

    def view(self, source: Source) -> Block:
        """What is open as a block, whose arrays change with the next step."""
        kept = [frames for t, frames in self.finals if t < self.steps]
        finals = {
            name: np.concatenate([array.zeros(0), *(frames[name] for frames in kept)])
            for name, array in self.spec.obs.items()
        }
        return Block(self.buffer, self.steps, finals, self.standing, source)

    def cut(self, source: Source) -> Block:
        """The open block, with arrays of its own. What follows continues its episodes."""
        block = self.view(source)
        self._close()
        self.buffer = self.spare.pop() if self.spare else Buffer(self.spec, self.extras, self.width, self.piece)
        for (_, moments), (_, before) in zip(self.buffer.obs, block.buffer.obs, strict=True):
            moments[0][...] = before[self.steps]
        self.standing, self.steps, self.finals = block.after, 0, []
        return block

    def truncate(self) -> None:
        """End what runs: the last step was the last one of its episode, for all lanes."""
        t = self.steps - 1
        over = self.buffer.terminated[t] | self.buffer.truncated[t]
        frames = {name: moments[t + 1].copy() for name, moments in self.buffer.obs}
        if over.any():
            _, seen = self.finals.pop()
            for name, array in frames.items():
                array[over] = seen[name]
        self.finals.append((t, frames))
        self.buffer.truncated[t][~over] = True

    def reuse(self, block: Block) -> None:
        """Nobody reads the block any more."""
        if len(self.spare) < _SPARE and block.buffer is not self.buffer:
            self.spare.append(block.buffer)

    def present(self) -> dict[str, np.ndarray]:
        """The present observations, (N, ...), copied."""
        return {name: moments[self.steps].copy() for name, moments in self.buffer.obs}

    def snapshot(self) -> dict[str, Any]:
        block, now = self.view({}), self.standing
        self._close()
        return {
            "steps": self.steps,
            "standing": [now.number.tolist(), now.steps.tolist(), now.total.tolist(), now.next],
            "arrays": freeze(block.arrays),
            "finals": freeze(self.finals),
        }

    def restore(self, state: dict[str, Any]) -> None:
        number, steps, total, following = state["standing"]
        self.standing = Standing(np.array(number), np.array(steps), np.array(total, np.float64), int(following))
        self.steps, self.finals = int(state["steps"]), thaw(state["finals"])
        for name, array in thaw(state["arrays"]).items():
            self.buffer.arrays[name][:, : self.steps + 1] = array

    def _close(self) -> None:
        """Nothing was done yet on seeing the present: what stands there is of an older block."""
        for name, array in self.buffer.arrays.items():
            if not name.startswith("obs."):
                array[:, self.steps] = 0
