"""One policy in one vector env: the only loop that steps an env."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from worldmodels.core.errors import ConfigError, ResumeError, SpecError
from worldmodels.core.experience import Episode, Obs
from worldmodels.core.protocols import Env, Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, describe
from worldmodels.data.lanes import Lanes
from worldmodels.data.memory import pack, unpack

Source = Mapping[str, str | int | float]


class Driver:
    """Acts in N worlds at once and hands out what was lived as pieces of episodes.

    A piece is handed out when it is `piece` steps long or its episode ended; its arrays are its own. Episodes are
    numbered in the order in which they begin. Nothing happens before the first `step`.
    """

    def __init__(
        self, env: Env, policy: Policy, rng: Rng, *, piece: int = 64, explore: bool = True, source: Source | None = None
    ) -> None:
        if piece < 1:
            raise ConfigError(f"pieces of {piece} steps", "at least 1", "set piece to 64")
        self.env, self.policy, self.rng = env, policy, rng
        self.explore, self.source = explore, dict(source or {})
        self.spec, self.width = env.spec, env.width
        self.steps, self.episodes = 0, 0  # taken; ended
        self.lanes_cut: list[int] = []  # the lane of each piece that was handed out last
        self.extras = {**env.spec.extras, **declared_extras(env, policy)}
        self._lanes = Lanes(env.spec, self.extras, env.width, piece)
        self._finished: list[tuple[float, int]] = []
        self._total = np.zeros(env.width)
        self._next = 0
        self._left: list[Episode] = []  # closed by a restore, not handed out yet
        self._waiting: list[int] = []  # lanes whose next piece lacks its first observation
        self._memory: Any = None
        self._obs: Obs = {}
        self._first = np.ones(env.width, bool)
        self._checked = self._started = False

    @property
    def resume(self) -> Literal["exact", "episode"]:
        """What a restored driver goes on with: exactly this moment, or a new episode in every lane."""
        return "exact" if self.env.resumable else "episode"

    @property
    def open(self) -> int:
        """Steps taken that no piece has handed out yet."""
        return self._lanes.open

    @property
    def started(self) -> bool:
        return self._started

    @property
    def next_number(self) -> int:
        """The number of the episode that begins next."""
        return self._next

    def begin(self, number: int) -> None:
        """Begin new episodes, numbered from `number` on and never the same as under another number.

        For a recording that holds `number` episodes already. Whatever is open is dropped.
        """
        self.rng, self._next, self._started = self.rng.child("from", number), number, False
        self._lanes.clear()

    def switch(self, policy: Policy) -> None:
        """Let another policy act from here on. Its memory is fresh, in the midst of the episodes."""
        unknown = sorted(set(declared_extras(self.env, policy)) - set(self.extras))
        if unknown:
            raise SpecError(
                f"the policy tells {', '.join(unknown)}",
                f"no extras but {', '.join(self.extras) or 'none'}",
                "make the driver with the policy that tells more, and switch to the other",
            )
        self.policy, self._memory, self._checked = policy, policy.initial(self.width), False

    def step(self) -> list[Episode]:
        """One action in every world; the pieces that this completed."""
        self._settle()
        action, self._memory, told = self.policy.act(
            self._obs, self._first, self._memory, explore=self.explore, rng=self.rng
        )
        moment = self.env.step(action)
        extras = {**moment.extras, **told} if moment.extras or told else told
        if not self._checked:
            self._check(action, extras)
        self._lanes.write(action, moment.reward, moment.arrived, extras)
        self._obs = moment.obs
        self._total += moment.reward
        self._first = moment.terminated | moment.truncated
        self.steps += self.width
        pieces, self._left = self._left, []
        self.lanes_cut = [] if not pieces else self.lanes_cut
        if self._first.any():
            self._end(pieces, moment.terminated, moment.truncated)
        for lane in self._lanes.full():
            self._cut(pieces, lane, (False, False))
        return pieces

    def flush(self) -> list[Episode]:
        """The open pieces, unended. The next step continues their episodes, so nothing is lost or told twice."""
        self._settle()
        pieces, self._left = self._left, []
        self.lanes_cut = [] if not pieces else self.lanes_cut
        for lane in np.flatnonzero(self._lanes.row > self._lanes.base).tolist():
            self._cut(pieces, lane, (False, False))
        return pieces

    def drain(self) -> list[tuple[float, int]]:
        """Return and length of the episodes that ended since last asked."""
        finished, self._finished = self._finished, []
        return finished

    def snapshot(self) -> dict[str, Any]:
        """All that the next step depends on.

        Where the env can not be saved, a restore closes the open episodes as truncated and begins new ones.
        """
        if not self._started:
            return {"started": False, "rng": self.rng.snapshot(), "next": self._next}
        self._settle()
        return {
            "started": True,
            "rng": self.rng.snapshot(),
            "next": self._next,
            "steps": self.steps,
            "episodes": self.episodes,
            "finished": [list(item) for item in self._finished],
            "total": self._total.tolist(),
            "first": self._first.tolist(),
            "lanes": self._lanes.snapshot(),
            "memory": pack(self._memory),
            "env": self.env.snapshot() if self.env.resumable else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.rng.restore(state["rng"])
        self._next = int(state["next"])
        self._started = bool(state["started"])
        if not self._started:
            return
        if len(state["first"]) != self.width:
            raise ResumeError(
                f"a snapshot of {len(state['first'])} worlds", f"{self.width}", f"set data.width={len(state['first'])}"
            )
        self.steps, self.episodes = int(state["steps"]), int(state["episodes"])
        self._finished = [(float(total), int(length)) for total, length in state["finished"]]
        self._total, self._first = np.array(state["total"]), np.array(state["first"])
        self._lanes.restore(state["lanes"])
        self._waiting, self._left, self._checked = [], [], False
        if not self.env.resumable:
            self._reopen()
            return
        self._obs, self._memory = self._lanes.present(), unpack(self.policy.initial(self.width), state["memory"])
        self.env.restore(state["env"])

    def _settle(self) -> None:
        """Start the worlds if they stand still, and give every lane the first observation of its piece."""
        if not self._started:
            self._started = True
            self._reset()
        if self._waiting:
            self._lanes.begin(self._waiting, self._obs)
            self._waiting = []

    def _reset(self) -> None:
        self._obs = self.env.reset(self.rng.numpy.integers(1 << 31, size=self.width).tolist())
        self._memory, self._first = self.policy.initial(self.width), np.ones(self.width, bool)
        self._total[:] = 0
        for lane in range(self.width):
            self._number(lane)
        self._waiting = list(range(self.width))

    def _reopen(self) -> None:
        """Close the episodes of a world that could not be saved, and begin new ones."""
        pieces: list[Episode] = []
        self.lanes_cut = []
        for lane in np.flatnonzero(self._lanes.row > self._lanes.base).tolist():
            self._cut(pieces, lane, (False, True))
        self._left = pieces
        self._reset()

    def _end(self, pieces: list[Episode], terminated: np.ndarray, truncated: np.ndarray) -> None:
        for lane in np.flatnonzero(self._first).tolist():
            piece = self._cut(pieces, lane, (bool(terminated[lane]), bool(truncated[lane])))
            self._finished.append((float(self._total[lane]), piece.start + len(piece)))
            self._total[lane] = 0
            self.episodes += 1
            self._number(lane)

    def _cut(self, pieces: list[Episode], lane: int, ending: tuple[bool, bool]) -> Episode:
        piece = self._lanes.cut(lane, self.source, ending)
        pieces.append(piece)
        self.lanes_cut.append(lane)
        self._waiting.append(lane)
        return piece

    def _number(self, lane: int) -> None:
        self._lanes.number[lane], self._lanes.start[lane] = self._next, 0
        self._next += 1

    def _check(self, action: np.ndarray, extras: Obs) -> None:
        """Refuse what numpy would stretch or cast in silence. Once per policy: a policy does not change its shapes."""
        expected = ArraySpec((self.width, *self.spec.action.shape), self.spec.action.dtype)
        _refuse("action", ArraySpec(action.shape, action.dtype.name), expected)
        for name, array in extras.items():
            if name not in self.extras:
                raise SpecError(f"an extra {name!r}", f"one of {sorted(self.extras)}", f"declare {name!r} as an extra")
            spec = self.extras[name]
            _refuse(name, ArraySpec(array.shape, array.dtype.name), ArraySpec((self.width, *spec.shape), spec.dtype))
        self._checked = True


def declared_extras(env: Env, policy: Policy) -> dict[str, ArraySpec]:
    """What a policy tells beside its actions: its attribute `extras`, or what it tells when it is asked once."""
    declared = getattr(policy, "extras", None)
    if declared is not None:
        return dict(declared)
    obs = {name: array.zeros(env.width) for name, array in env.spec.obs.items()}
    first, memory = np.ones(env.width, bool), policy.initial(env.width)
    _, _, told = policy.act(obs, first, memory, explore=True, rng=Rng(0, "probe"))
    return {name: ArraySpec(array.shape[1:], array.dtype.name) for name, array in told.items()}


def _refuse(name: str, found: ArraySpec, expected: ArraySpec) -> None:
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise SpecError(f"{name} is {describe(found)}", describe(expected), "return one per world, in this dtype")
