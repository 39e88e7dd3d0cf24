"""One policy in one vector env: the only loop that steps an env."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from worldmodels.core.errors import ConfigError, ResumeError, SpecError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Env, Policy
from worldmodels.core.rng import Rng
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import EnvSpec
from worldmodels.data.block import Block, Source, Standing
from worldmodels.data.demand import declared_extras, demand
from worldmodels.data.lanes import Lanes
from worldmodels.data.memory import pack, unpack

Finished = tuple[int, float, int]  # lane, return, length


class Driver:
    """Acts in N worlds at once and hands out what was lived as blocks.

    A block is handed out when it is `piece` steps long; its arrays are its own. Whoever has done with it may say so by
    `reuse`, which saves making room for another. Episodes are numbered in the order in which they begin. Nothing
    happens before the first `step`.
    """

    def __init__(
        self,
        env: Env,
        policy: Policy,
        rng: Rng,
        *,
        piece: int | None = None,
        explore: bool = True,
        source: Source | None = None,
    ) -> None:
        if piece is not None and piece < 1:
            raise ConfigError(f"pieces of {piece} steps", "at least 1", "set piece to 64")
        self.env, self.policy, self.rng = env, policy, rng
        self.explore, self.source = explore, dict(source or {})
        self.spec, self.width = env.spec, env.width
        self.extras = {**env.spec.extras, **declared_extras(env, policy)}
        self.piece = piece or usual_piece(env.spec, env.width)
        self._lanes = Lanes(env.spec, self.extras, env.width, self.piece)
        self._cut_steps = self._cut_episodes = 0  # taken and ended in blocks that were handed out
        self._finished: list[Finished] = []  # not asked for yet
        self._told = 0  # of the episodes that ended in the open block, so many are in `_finished` or were asked for
        self._next = 0
        self._left: list[Block] = []  # closed by a restore, not handed out yet
        self._memory: Any = None
        self._obs: Obs = {}
        self._first = np.ones(env.width, bool)
        self._checked = self._started = False

    @property
    def resume(self) -> Literal["exact", "episode"]:
        """What a restored driver goes on with: exactly this moment, or a new episode in every lane."""
        return "exact" if self.env.resumable else "episode"

    @property
    def steps(self) -> int:
        """Env steps taken."""
        return self._cut_steps + self._lanes.steps * self.width

    @property
    def episodes(self) -> int:
        """Ended."""
        return self._cut_episodes + self._lanes.ended

    @property
    def open(self) -> int:
        """Env steps taken that no block has handed out yet."""
        return self._lanes.steps * self.width + sum(map(len, self._left))

    @property
    def started(self) -> bool:
        return self._started

    @property
    def next_number(self) -> int:
        """The number of the episode that begins next."""
        return self._lanes.standing.next + self._lanes.ended if self._started else self._next

    def begin(self, number: int) -> None:
        """Begin new episodes, numbered from `number` on and never the same as under another number.

        For a recording that holds `number` episodes already. Whatever is open is dropped.
        """
        self._absorb()
        self._cut_steps, self._cut_episodes, self._told = self.steps, self.episodes, 0
        self.rng, self._next, self._started = self.rng.child("from", number), number, False
        self._lanes.clear()

    def switch(self, policy: Policy, source: Source | None = None) -> None:
        """Let another policy act from here on. Its memory is fresh, in the midst of the episodes.

        `source` is told of the episodes that begin in the blocks to come, also in the one that is open.
        """
        unknown = sorted(set(declared_extras(self.env, policy)) - set(self.extras))
        if unknown:
            raise SpecError(
                f"the policy tells {', '.join(unknown)}",
                f"no extras but {', '.join(self.extras) or 'none'}",
                "make the driver with the policy that tells more, and switch to the other",
            )
        self.policy, self._memory, self._checked = policy, policy.initial(self.width), False
        self.source = self.source if source is None else dict(source)

    def step(self) -> Sequence[Block]:
        """One action in every world; the block that this completed, if it did."""
        if not self._started:
            self._reset(self._next)
        action, self._memory, told = self.policy.act(
            self._obs, self._first, self._memory, explore=self.explore, rng=self.rng
        )
        moment = self.env.step(action)
        extras = {**moment.extras, **told} if moment.extras or told else told
        if not self._checked:
            demand(self.env, self.extras, action, extras)
            self._checked = True  # once per policy: a policy does not change its shapes
        over = moment.terminated | moment.truncated
        steps = self._lanes.write(action, moment, extras, over)
        self._obs, self._first = moment.obs, over
        return self._hand_out(self.piece) if steps == self.piece or self._left else ()

    def flush(self) -> list[Block]:
        """What is open. The next step continues its episodes, so nothing is lost or told twice."""
        return self._hand_out(1)

    def reuse(self, block: Block) -> None:
        """Nobody reads the block any more: its arrays may hold another one."""
        self._lanes.reuse(block)

    def drain(self) -> list[tuple[float, int]]:
        """Return and length of the episodes that ended since last asked."""
        return [(total, length) for _, total, length in self.drain_lanes()]

    def drain_lanes(self) -> list[Finished]:
        """Lane, return and length of the episodes that ended since last asked."""
        self._absorb()
        finished, self._finished = self._finished, []
        return finished

    def running(self) -> Standing:
        """The episodes that are not over."""
        return self._lanes.view({}).after if self._lanes.steps else self._lanes.standing

    def snapshot(self) -> dict[str, Any]:
        """All that the next step depends on.

        Where the env can not be saved, a restore closes the open episodes as truncated and begins new ones.
        """
        if not self._started:
            return {"started": False, "rng": self.rng.snapshot(), "next": self._next}
        self._absorb()
        return {
            "started": True,
            "rng": self.rng.snapshot(),
            "steps": self._cut_steps,
            "episodes": self._cut_episodes,
            "finished": [list(item) for item in self._finished],
            "told": self._told,
            "first": self._first.tolist(),
            "lanes": self._lanes.snapshot(),
            "memory": pack(self._memory),
            "views": freeze({name: self._obs[name] for name in self.spec.views}),  # the block has what is stored alone
            "env": self.env.snapshot() if self.env.resumable else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.rng.restore(state["rng"])
        self._started, self._left, self._checked = bool(state["started"]), [], False
        if not self._started:
            self._next = int(state["next"])
            return
        if len(state["first"]) != self.width:
            raise ResumeError(
                f"a snapshot of {len(state['first'])} worlds", f"{self.width}", f"set data.width={len(state['first'])}"
            )
        self._cut_steps, self._cut_episodes = int(state["steps"]), int(state["episodes"])
        self._finished = [(int(lane), float(total), int(length)) for lane, total, length in state["finished"]]
        self._told, self._first = int(state["told"]), np.array(state["first"])
        self._lanes.restore(state["lanes"])
        if not self.env.resumable:
            self._reopen()
            return
        views = thaw(state["views"]) if self.spec.views else {}
        self._obs = {**self._lanes.present(), **views}
        self._memory = unpack(self.policy.initial(self.width), state["memory"])
        self.env.restore(state["env"])

    def _reset(self, number: int) -> None:
        self._obs = self.env.reset(self.rng.numpy.integers(1 << 31, size=self.width).tolist())
        self._memory, self._first = self.policy.initial(self.width), np.ones(self.width, bool)
        self._lanes.begin(self._obs, number)
        self._started = True

    def _reopen(self) -> None:
        """Close the episodes of a world that could not be saved, and begin new ones."""
        number, episodes = self.next_number, self.episodes
        if self._lanes.steps:
            self._lanes.truncate()
            self._told = self._lanes.ended  # they did not end by themselves: nobody hears of their returns
            self._left = [self._cut()]
        self._cut_episodes = episodes
        self._reset(number)

    def _hand_out(self, least: int) -> list[Block]:
        """What a restore left, and the open block if it has that many steps."""
        blocks, self._left = self._left, []
        if self._lanes.steps >= least:
            blocks.append(self._cut())
        return blocks

    def _cut(self) -> Block:
        block, told = self._lanes.cut(self.source), self._told
        self._finished += block.finished[told:]
        self._cut_steps, self._told = self._cut_steps + len(block), 0
        self._cut_episodes += len(block.finished)
        return block

    def _absorb(self) -> None:
        """Take the episodes that ended in the open block into `_finished`."""
        ended = self._lanes.ended
        if ended > self._told:
            self._finished += self._lanes.view({}).finished[self._told :]
            self._told = ended


def usual_piece(spec: EnvSpec, width: int) -> int:
    """64 steps; up to four times as many while a block of all worlds has less than 2 MiB of observations."""
    step = width * sum(array.size * np.dtype(array.dtype).itemsize for array in spec.obs.values())
    return min(256, max(64, (2 << 20) // step))
