"""Search, act, and tell what the search found: a model that believes what it sees and remembers nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Memory
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.latent import LatentBelief
from worldmodels.model.muzero import MuZero
from worldmodels.nn.encoder import to_tensors
from worldmodels.planner.plan import Planner, demand_heads
from worldmodels.planner.simulator import Move, OneHot, Root, Simulator

# Extras: the improved policy, all 0 where nobody searched; the value; and how many updates the model had had.
POLICY, VALUE, LIVED = "search.policy", "search.value", "search.update"


def simulator(model: MuZero, discount: float) -> Simulator:
    """As `planner.simulator.from_model` would make it, with fewer calls; roots are beliefs."""
    vectors = OneHot(model.spec.action_size)

    def root(belief: LatentBelief) -> Root:
        return Root(belief, model.prior(belief.latent), model.value(belief.latent))

    def recurrent(belief: LatentBelief, action: Int64[Tensor, " B"]) -> Move:
        after = model.imagine(belief, vectors(action))
        reward, value, prior = model.foretell(after)
        return Move(after, reward, torch.full_like(reward, discount), prior, value)

    return Simulator(root, recurrent)


class Searching:
    """A planner in the latents of a MuZero, for N worlds at once; it shares the model's weights.

    Meets `core.protocols.Policy`. Its extras are what there is to learn from a search: see `POLICY` and `VALUE`.
    `judged` is the search without exploration, where that is another. With `plain` the value it tells is the model's,
    not the search's. With a `clock` it also tells the number of updates so far.
    """

    def __init__(
        self,
        spec: EnvSpec,
        model: MuZero,
        simulator: Simulator,
        planner: Planner,
        judged: Planner | None = None,
        *,
        tells: bool = False,
        plain: bool = False,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.spec, self.model, self.simulator, self.planner = spec, model, simulator, planner
        self.judged, self.tells, self.plain, self.clock = judged or planner, tells, plain, clock
        self.extras = {POLICY: ArraySpec((spec.action_size,), "float32"), VALUE: ArraySpec((), "float32")}
        if tells:
            self.extras = {f"belief.{name}": array for name, array in self.extras.items()}
            self.extras["belief.known"] = ArraySpec((), "bool")
        if clock is not None:
            self.extras[LIVED] = ArraySpec((), "int32")

    def telling(self) -> Searching:
        """The same, whose words on a step may be replaced later; see `core.protocols.Telling`."""
        kept: dict[str, Any] = {"plain": self.plain, "clock": self.clock}
        return Searching(self.spec, self.model, self.simulator, self.planner, self.judged, tells=True, **kept)

    def by(self, planner: Planner) -> Searching:
        """The same with another search. ConfigError if that looks at other heads."""
        demand_heads(planner, self.model)
        return Searching(self.spec, self.model, self.simulator, planner)

    def initial(self, width: int) -> Memory:  # noqa: ARG002 (the contract of every policy)
        return None

    @torch.no_grad()
    def act(
        self,
        obs: Obs,
        first: Bool[np.ndarray, " N"],  # noqa: ARG002 (nothing is remembered)
        memory: Memory,
        *,
        explore: bool,
        rng: Rng,
    ) -> tuple[Int64[np.ndarray, " N"], Memory, Obs]:
        device = next(self.model.parameters()).device
        belief = self.model.start(self.model.encode(to_tensors(obs, device)))
        planner = self.planner if explore else self.judged
        plan = planner.plan(self.simulator, belief, rng=rng.numpy, explore=explore)
        value = self.model.value(belief.latent) if self.plain else plan.value
        told = {POLICY: plan.target.float().cpu().numpy(), VALUE: value.float().cpu().numpy()}
        if self.tells:
            told = {f"belief.{name}": value for name, value in told.items()}
            told["belief.known"] = np.ones(len(plan.action), bool)
        if self.clock is not None:
            told[LIVED] = np.full(len(plan.action), self.clock(), np.int32)
        return plan.action.cpu().numpy(), memory, told
