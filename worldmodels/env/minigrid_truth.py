"""What a MiniGrid agent can not know, told beside each step so that probes can learn to read it off a latent."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from worldmodels.core.experience import Obs
from worldmodels.core.spec import ArraySpec

# What a cell's first symbol means, as MiniGrid numbers it.
OBJECTS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
NEVER = 1_000_000  # steps since something was last seen that was not seen yet
ABSENT = -1  # the same of a goal that does not exist
CARRIED = (-1, -1)  # in place of column and row
SOUGHT = ("goal", "ball", "key", "box")  # what one goes for, in this order


class Truth:
    """Follows a grid through an episode. Rows go down and columns right.

    map: object, colour and state of every cell, without the agent. map_seen: which of them it has had in view in this
    episode. agent: column and row in [0, 1], and the step that it would take as (right, down). goals_direction: how
    far ahead and to its right each goal lies, in cells; goals_age: steps since it was in view, NEVER or ABSENT. The
    first goal's way stands also in goal_direction. Goals are what is sought of the grid as the episode begins, kinds in
    the order of SOUGHT, then in reading order; what is carried lies at (0, 0) and is seen.
    """

    def __init__(self, env: Any, classes: tuple[int, ...], goals: int) -> None:
        self.env, self.count = env, goals
        shape = (env.height, env.width)
        self.specs = {
            "map": ArraySpec((*shape, 3), "uint8", "symbols", classes),
            "map_seen": ArraySpec((*shape, 1), "bool", "planes"),
            "agent": ArraySpec((4,), "float32"),
            "goal_direction": ArraySpec((2,), "float32"),
            "goals_direction": ArraySpec((goals, 2), "float32"),
            "goals_age": ArraySpec((goals,), "int64"),
        }
        self._seen, self._age, self._goals = np.zeros(shape, bool), np.zeros(goals, np.int64), list[Any]()

    def begin(self) -> None:
        """The episode has just begun."""
        order = [each for kind in SOUGHT for each in self.env.grid.grid if each is not None and each.type == kind]
        self._goals = order[: self.count]
        self._seen = np.zeros_like(self._seen)
        self._age = np.full(self.count, NEVER)
        self.follow()

    def follow(self) -> None:
        """A step was taken."""
        view = in_view(self.env)
        self._seen = self._seen | view
        self._places = [self._place(at) for at in range(self.count)]
        ages = zip(self._places, self._age.tolist(), strict=True)
        self._age = np.array([_older(place, age, view) for place, age in ages])

    def tell(self) -> Obs:
        env = self.env
        ahead, right = env.dir_vec, env.right_vec
        directions = np.zeros((self.count, 2), np.float32)
        for at, place in enumerate(self._places):
            if place not in (None, CARRIED):
                way = np.array(place) - env.agent_pos
                directions[at] = way @ ahead, way @ right
        x, y = env.agent_pos
        return {
            "map": env.grid.encode().transpose(1, 0, 2),
            "map_seen": self._seen[..., None],
            "agent": np.array([x / (env.width - 1), y / (env.height - 1), *ahead], np.float32),
            "goal_direction": directions[0],
            "goals_direction": directions,
            "goals_age": self._age,
        }

    def _place(self, at: int) -> tuple[int, int] | None:
        """Column and row of a goal, CARRIED, or None of one that is not there."""
        goal = self._goals[at] if at < len(self._goals) else None
        if goal is None:
            return None
        if self.env.carrying is goal:
            return CARRIED
        cell = next((n for n, each in enumerate(self.env.grid.grid) if each is goal), None)
        return None if cell is None else (cell % self.env.width, cell // self.env.width)


def _older(place: tuple[int, int] | None, age: int, view: Bool[np.ndarray, "h w"]) -> int:
    if place is None:
        return ABSENT
    if place == CARRIED or view[place[1], place[0]]:
        return 0
    return NEVER if age == ABSENT else min(age + 1, NEVER)


def in_view(env: Any) -> Bool[np.ndarray, "h w"]:
    """Which cells of the grid the agent sees now."""
    _, mask = env.gen_obs_grid()
    size = env.agent_view_size
    across, down = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")  # of the view, from its top left
    corner = env.agent_pos + env.dir_vec * (size - 1) - env.right_vec * (size // 2)
    place: Int[np.ndarray, "size size 2"] = (
        corner - down[..., None] * env.dir_vec + across[..., None] * env.right_vec
    ).astype(np.int64)
    inside = mask & (place >= 0).all(-1) & (place < (env.width, env.height)).all(-1)
    seen = np.zeros((env.height, env.width), bool)
    seen[place[inside, 1], place[inside, 0]] = True
    return seen
