"""Believe, search, act: a planner looks ahead in the beliefs of a trained world model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.model.unroll import as_vector
from worldmodels.planner.plan import Planner, TreePlanner, demand_heads
from worldmodels.planner.simulator import Simulator
from worldmodels.policy.believing import Believing, Mind


@runtime_checkable
class Searchable(Protocol):
    """A run in whose model can be searched."""

    @property
    def spec(self) -> EnvSpec: ...

    def by(self, planner: Planner) -> Policy: ...


@dataclass(frozen=True)
class Trained:
    """What a run offers to a search: a policy that believes, and its model as a simulator, given what to draw from."""

    policy: Believing
    simulator: Callable[[torch.Generator, int | None], Simulator]

    @property
    def spec(self) -> EnvSpec:
        return self.policy.spec

    def by(self, planner: Planner) -> Planning:
        return Planning(self, planner)


class Planning(Believing):
    """Acts by a search from what it believes, for N worlds at once. The actor is the prior of the search.

    Meets `core.protocols.Policy`. Searches draw from both halves of the generator handed to `act`.
    """

    def __init__(self, trained: Trained, planner: Planner, *, tells: bool = False) -> None:
        demand_heads(planner, trained.policy.model)
        policy = trained.policy
        super().__init__(policy.spec, policy.model, policy.actor, tells=tells)
        self.trained, self.planner = trained, planner

    def telling(self) -> Planning:
        return Planning(self.trained, self.planner, tells=True)

    @torch.no_grad()
    def act(
        self, obs: Obs, first: Bool[np.ndarray, " N"], memory: Mind, *, explore: bool, rng: Rng
    ) -> tuple[np.ndarray, Mind, Obs]:
        belief = self.believe(obs, first, memory, rng)
        simulator = self.trained.simulator(rng.torch, self.planner.candidates)
        plan = self.planner.plan(simulator, belief, rng=rng.numpy, explore=explore)
        chosen = as_vector(self.spec, plan.action).to(self.device)
        return plan.action.cpu().numpy(), (belief, chosen), self._told(belief) if self.extras else {}


def planning(
    spec: EnvSpec,
    *,
    load: Callable[[str, str, int | None], Searchable],
    run: str | None,
    checkpoint: str,
    planner: Planner,
) -> Policy:
    """What `conf/policy/planning.yaml` becomes. `load` opens the run; see `launch.agents`."""
    if run is None:
        raise ConfigError(
            "policy=planning without a run",
            "a trained world model to search in",
            "set run=<folder>, or policy.run=<folder> beside env=<name>",
        )
    if isinstance(planner, TreePlanner) and planner.candidates is None and spec.discrete:
        planner.check(spec.action_size)
    trained = load(run, checkpoint, planner.candidates)
    if found := trained.spec.differences(spec):
        raise ConfigError(
            f"{run} was trained in another world than {spec.name}:\n    " + "\n    ".join(found),
            "a world with the same observations and actions",
            "choose another env, or another run",
        )
    return trained.by(planner)
