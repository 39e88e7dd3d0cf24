"""Why an action was chosen: the tree that a search grew from one moment of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from worldmodels.analysis import tree_page
from worldmodels.analysis.subject import Progress, Subject
from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Count, Natural
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.store import EpisodeStore
from worldmodels.model.unroll import as_vector, track
from worldmodels.ops.picture import above, draw
from worldmodels.planner.plan import Plan, TreePlanner, demand_heads
from worldmodels.stage.stage import demand_kind

BEFORE = 3  # moments that are shown beside the one that was searched


@dataclass(frozen=True)
class Searched:
    """One search, and what it began from."""

    subject: Subject
    episode: int
    step: int
    plan: Plan  # of one root
    seen: list[UInt8[np.ndarray, "h w 3"]]  # the moment and those before it, the oldest first
    imagined: list[UInt8[np.ndarray, "h w 3"] | None]  # by node, what the model thinks it looks like there
    taken: int | None  # what was done there when the episode was lived
    planner: str  # the class of the search


class SearchTree:
    """Follows an episode with open eyes to a step of it, searches there, and draws what the search has seen.

    episode: its number in the store; null: the longest. step: null: the middle of the episode. explore: with the noise
    of acting while training. nodes: drawn at most, those that were visited most.
    """

    def __init__(
        self,
        *,
        planner: TreePlanner,
        episode: Natural | None = None,
        step: Natural | None = None,
        explore: bool = False,
        nodes: Count = 60,
        seed: Natural = 0,
    ) -> None:
        self.planner, self.episode, self.step = planner, episode, step
        self.explore, self.nodes, self.seed = explore, nodes, seed

    def __call__(self, subject: Subject, folder: Path, progress: Progress) -> dict[str, Any]:
        progress(0.1, "searching")
        found = self.find(subject)
        progress(0.7, "drawing")
        summary = tree_page.write(found, folder, self.nodes)
        progress(1.0, "done")
        return summary

    @torch.no_grad()
    def find(self, subject: Subject) -> Searched:
        if subject.simulator is None:
            if not subject.spec.discrete:
                found = f"{subject.title} has continuous actions"
                raise ConfigError(found, "numbered ones, for a tree to be drawn of", "give another run")
            found = f"{subject.title} learned no model that can be searched"
            raise ConfigError(
                found, "a run of stage=dreamer, or of stage=muzero with stage.unroll above 0", "give another run"
            )
        demand_kind(subject.spec, self.planner.candidates)
        demand_heads(self.planner, subject.model)
        number, step = self._place(subject.store)
        rng = Rng(self.seed, "search tree")
        belief = _believed(subject, number, step, rng)
        plan = self.planner.plan(subject.simulator(rng.torch), belief, rng=rng.numpy, explore=self.explore)
        episode = subject.store[number]
        shown = range(max(0, step - BEFORE), step + 1)
        seen = [_frame(subject.spec, {name: x[t] for name, x in episode.obs.items()}) for t in shown]
        taken = int(episode.action[step]) if step < len(episode) else None
        return Searched(subject, number, step, plan, seen, _imagined(subject, plan), taken, type(self.planner).__name__)

    def _place(self, store: EpisodeStore) -> tuple[int, int]:
        known = store.episodes
        if not len(known.number):
            raise ConfigError(f"{store.folder} holds no episode", "at least one", "record some, or set play=true")
        number = int(known.number[known.length.argmax()]) if self.episode is None else self.episode
        if number not in known.number:
            highest = int(known.number.max())
            raise ConfigError(
                f"{store.folder} has no episode {number}",
                f"one of {len(known.number)}, up to {highest}",
                "set analysis.episode, or null for the longest",
            )
        length = int(known.length[known.number == number][0])
        step = length // 2 if self.step is None else self.step
        if step > length:
            raise ConfigError(
                f"step {step} of episode {number}, which has {length}",
                f"0 to {length}",
                "set analysis.step, or null for the middle",
            )
        return number, step


def _believed(subject: Subject, number: int, step: int, rng: Rng) -> Belief:
    """The belief (1, ...) at that step, after looking at all before it."""
    episode, model = subject.store[number], subject.model
    obs = {name: torch.from_numpy(x[None, : step + 1]) for name, x in episode.obs.items()}
    done = as_vector(subject.spec, torch.from_numpy(episode.action[None, :step]))
    led = torch.cat([torch.zeros(1, 1, subject.spec.action_size), done.float()], 1)
    first = torch.zeros(1, step + 1, dtype=torch.bool)
    first[:, 0] = True
    own: Any = getattr(model, "track", None)
    embed = model.encode(obs)  # pyright: ignore[reportCallIssue] (any world model)
    seen = own(led, embed, first, rng=rng.torch) if own else track(model, led, embed, first, rng=rng.torch)  # pyright: ignore[reportArgumentType]
    return seen.map(lambda x: x[:, -1])


def _imagined(subject: Subject, plan: Plan) -> list[UInt8[np.ndarray, "h w 3"] | None]:
    """Pictures of nodes, where the model tells what observations look like."""
    pictures: list[UInt8[np.ndarray, "h w 3"] | None] = []
    for node in range(plan.tree.places.shape[1]):
        belief = plan.tree.latents.read(torch.tensor([node]))
        told: Prediction = subject.model.decode(belief)  # pyright: ignore[reportCallIssue]
        if told.obs is None:
            return [None] * plan.tree.places.shape[1]
        pictures.append(_frame(subject.spec, {name: x[0].float().cpu().numpy() for name, x in told.obs.items()}))
    return pictures


def _frame(spec: EnvSpec, obs: dict[str, np.ndarray]) -> UInt8[np.ndarray, "h w 3"]:
    return above([draw(array, obs[name]) for name, array in spec.obs.items()])
