"""Agents of mixed skill: at the start of each episode every lane draws the one that lives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.options import Share
from worldmodels.core.protocols import Memory, Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ENV_ID, ArraySpec, EnvSpec
from worldmodels.policy.translated import translation

UNKNOWN = -1  # the skill of an agent whose training is not known


@dataclass(frozen=True)
class Agent:
    """A policy that was trained in the world called `spec.name`. `skill`: for how many updates (or steps)."""

    policy: Policy
    spec: EnvSpec
    skill: int
    name: str


class Skilled:
    """Many agents in one vector env, each acting for all lanes that drew it. Meets `core.protocols.Policy`.

    A lane draws, each equally likely, among the agents of its own game. `skill` tells of each step how long the agent
    that chose it had been trained; 0 belongs to random play. With probability `epsilon`, while exploring, any action
    that the agent has. `greedy`: agents do not explore beyond that; otherwise they act as at the end of their training.
    """

    def __init__(
        self, spec: EnvSpec, agents: Sequence[Agent], *, epsilon: float = 0.0, greedy: bool = True, do: str = ""
    ) -> None:
        if not spec.discrete:
            raise ConfigError(f"{spec.name} has continuous actions", "numbered actions", "record one run: run=<folder>")
        self.epsilon, self.greedy = epsilon, greedy
        names = spec.worlds or (spec.name,)
        self.agents = [agent for agent in agents if agent.spec.name in names]
        self.pools = [
            np.array([k for k, agent in enumerate(self.agents) if agent.spec.name == name], np.int64) for name in names
        ]
        if lacking := [name for name, pool in zip(names, self.pools, strict=True) if not len(pool)]:
            there = sorted({agent.spec.name for agent in agents})
            raise ConfigError(
                f"no agents for {', '.join(lacking)}",
                f"at least one for each world; given are {len(agents)}" + (f" of {', '.join(there)}" if there else ""),
                do or "give agents of these games, or leave the games out",
            )
        self.translations = [translation(agent.spec, spec, agent.spec.name) for agent in self.agents]
        self.skill = np.array([agent.skill for agent in self.agents], np.int64)
        self.extras = {"skill": ArraySpec((), "int64")}

    def initial(self, width: int) -> dict[str, Any]:
        """Which agent each lane has, and what each agent remembers of all lanes."""
        return {
            "agent": np.zeros(width, np.int64),
            "minds": [agent.policy.initial(width) for agent in self.agents],
        }

    def act(
        self, obs: Obs, first: Bool[np.ndarray, " N"], memory: dict[str, Any], *, explore: bool, rng: Rng
    ) -> tuple[Int64[np.ndarray, " N"], Memory, Obs]:
        drawn = self._draw(obs, first, memory["agent"], rng)
        minds, action = list(memory["minds"]), np.zeros(len(first), np.int64)
        for k in np.unique(drawn).tolist():
            lanes = np.flatnonzero(drawn == k)
            agent, translated = self.agents[k], self.translations[k]
            seen = {name: np.ascontiguousarray(array[lanes]) for name, array in translated.obs(obs).items()}
            chosen, mind, _ = agent.policy.act(
                seen, first[lanes], _some(minds[k], lanes), explore=explore and not self.greedy, rng=rng
            )
            minds[k] = _put(minds[k], lanes, mind)
            if explore and self.epsilon:
                random = rng.numpy.random(len(lanes)) < self.epsilon
                chosen = np.where(random, rng.numpy.integers(agent.spec.action_size, size=len(lanes)), chosen)
            action[lanes] = translated.action(chosen)
        return action, {"agent": drawn, "minds": minds}, {"skill": self.skill[drawn]}

    def _draw(
        self, obs: Obs, first: Bool[np.ndarray, " N"], before: Int64[np.ndarray, " N"], rng: Rng
    ) -> Int64[np.ndarray, " N"]:
        drawn = before.copy()
        for lane in np.flatnonzero(first).tolist():
            pool = self.pools[int(obs[ENV_ID][lane])] if ENV_ID in obs else self.pools[0]
            drawn[lane] = pool[rng.numpy.integers(len(pool))]
        return drawn


def skilled(
    spec: EnvSpec,
    *,
    load: Callable[..., Sequence[Agent]],
    runs: Sequence[str],
    checkpoints: Sequence[str],
    epsilon: Share = 0.0,
    greedy: bool = True,
) -> Skilled:
    """What `conf/policy/skilled.yaml` becomes. `load` opens what `runs` and `checkpoints` name; see `launch.agents`."""
    if not runs:
        raise ConfigError("policy.runs=[]", "folders of runs", "set policy.runs=[runs/<study>/*]")
    agents = load(runs=runs, checkpoints=checkpoints, worlds=spec.worlds or (spec.name,))
    do = f"train agents for them, and give their runs in policy.runs, now {list(runs)}; or leave out these worlds"
    return Skilled(spec, agents, epsilon=epsilon, greedy=greedy, do=do)


def _some(memory: Memory, lanes: Int64[np.ndarray, " n"]) -> Memory:
    """What is remembered of some lanes."""
    return _map(lambda leaf: leaf[lanes], memory)


def _put(memory: Memory, lanes: Int64[np.ndarray, " n"], part: Memory) -> Memory:
    """The memory with that of some lanes replaced."""

    def put(leaf: Any, new: Any) -> Any:
        whole = leaf.clone() if isinstance(leaf, torch.Tensor) else leaf.copy()
        whole[lanes] = new
        return whole

    return _map(put, memory, part)


def _map(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Applies f to the tensors and arrays (N, ...) of a memory, as `data.memory` allows it."""
    if isinstance(tree, np.ndarray | torch.Tensor):
        return f(tree, *others)
    if is_dataclass(tree) and not isinstance(tree, type):
        names = [each.name for each in fields(tree)]
        return replace(tree, **{n: _map(f, getattr(tree, n), *(getattr(o, n) for o in others)) for n in names})
    if isinstance(tree, dict):
        return {key: _map(f, value, *(other[key] for other in others)) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_map(f, *parts) for parts in zip(tree, *others, strict=True))
    return tree if not others else others[-1]
