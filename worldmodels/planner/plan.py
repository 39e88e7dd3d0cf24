"""What a search is asked and what it answers; the steps that all tree searches share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, Shaped
from torch import Tensor

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.options import Share
from worldmodels.planner.rules import UCB, Guide, Rule, Rules, require
from worldmodels.planner.search import Backend, Opening, demand_backend, grow, opened
from worldmodels.planner.simulator import Simulator
from worldmodels.planner.tree import Grown, Tree


@dataclass(frozen=True)
class Noise:
    """All chance of one search, a row per root: a root with the same row is searched alike in any batch."""

    gumbel: Float64[np.ndarray, "B A"]  # standard Gumbel
    gamma: Float64[np.ndarray, "B A"]  # Gamma(alpha); divided by their sum they are Dirichlet(alpha)
    uniform: Float64[np.ndarray, "B U U"]  # in [0, 1)

    def rows(self, rows: slice) -> Noise:
        return Noise(self.gumbel[rows], self.gamma[rows], self.uniform[rows])


@dataclass(frozen=True)
class Plan:
    """What B searches found. Tensors lie where the trees do: on the CPU if compiled, else beside the model."""

    action: Shaped[Tensor, "B *D"]  # what to do now: numbers (B,), or vectors where actions are continuous
    visits: Int64[Tensor, "B A"]  # simulations that began with each action; they sum to the number of simulations
    value: Float64[Tensor, " B"]  # of the root after the search, in the units of the rewards
    q: Float64[Tensor, "B A"]  # of each action at the root; the mixed value where it was never visited
    target: Float64[Tensor, "B A"]  # improved policy to learn from, 0 for what is not valid
    tree: Tree  # all that was imagined; holds the latents of all nodes as long as it lives


@runtime_checkable
class Planner(Protocol):
    """Chooses actions by looking ahead with a model. `candidates`: how many continuous actions it chooses among."""

    @property
    def candidates(self) -> int | None: ...

    def plan(
        self,
        simulator: Simulator,
        obs: Any,
        *,
        rng: np.random.Generator,
        explore: bool = True,
        invalid: Bool[Tensor, "B A"] | None = None,
    ) -> Plan: ...


@dataclass(frozen=True, kw_only=True)
class TreePlanner(ABC):
    """A planner that grows trees.

    simulations: nodes that each root's tree grows by; 0 looks nowhere and plans by the model's words about the root.
    backend: numba, compiled loops on the CPU; torch, tensor operations beside the model, slow, for tests and devices.
    """

    simulations: int
    backend: Backend
    by_values: ClassVar[bool] = False  # whether it takes the model's `prior` for values of actions

    @property
    def candidates(self) -> int | None:
        return None

    most: ClassVar[int] = 100_000  # simulations, of which each is a node in memory

    def __post_init__(self) -> None:
        require(0 <= self.simulations <= self.most, f"simulations={self.simulations}", f"from 0 to {self.most:,}")
        for name, value in vars(self).items():
            require(not isinstance(value, float) or math.isfinite(value), f"{name}={value}", "a finite number")
        demand_backend(self.backend)
        self.rule(explore=False)  # refuses its numbers

    @torch.no_grad()
    def plan(
        self,
        simulator: Simulator,
        obs: Any,
        *,
        rng: np.random.Generator,
        explore: bool = True,
        invalid: Bool[Tensor, "B A"] | None = None,
        noise: Noise | None = None,
    ) -> Plan:
        """Searches from B moments at once, without gradients.

        obs: whatever the simulator's `root` takes. explore: with the noise that keeps data diverse; without, the same
        moment gives the same plan if the simulator draws nothing. invalid: actions that can not be taken at the roots;
        further down the model has to make them unlikely itself. noise: what `draw` gave, in place of rng.
        Raises SpecError for wrong shapes, SearchError for numbers that are not finite.
        """
        opening = self.mixed(opened(simulator, obs, invalid, self.backend))
        roots, actions = opening.logit.shape
        self.check(actions)
        if not explore:
            noise = silence(roots, actions)
        elif noise is None:
            noise = self.draw(rng, roots, actions)
        elif found := self._unfit(noise, roots, actions):
            raise SpecError(f"noise of {found}", f"that of {roots} roots and {actions} actions", "take planner.draw's")
        rules, guide = self.rules(explore), self.guide(opening, noise)
        start = self.noisy(opening, noise)
        grown = grow(simulator, start, rules, guide, simulations=self.simulations, backend=self.backend)
        return self.read(grown, opening, guide)

    @property
    def choices(self) -> tuple[int, int]:
        """For how many simulations and depths there is a uniform number."""
        return 0, 0

    def _unfit(self, noise: Noise, roots: int, actions: int) -> str | None:
        """Shapes, if they are not those of what `draw` gives."""
        expected = ((roots, actions), (roots, actions), (roots, *self.choices))
        found = (noise.gumbel.shape, noise.gamma.shape, noise.uniform.shape)
        return None if found == expected else ", ".join(map(str, found))

    def draw(self, rng: np.random.Generator, roots: int, actions: int) -> Noise:
        """All noise of one search. Parts that are not needed are not drawn and are 0."""
        return replace(silence(roots, actions), gumbel=rng.gumbel(size=(roots, actions)))

    def check(self, actions: int) -> None:  # noqa: B027 (most can work with any number)
        """ConfigError if the options can not work with so many actions."""

    def mixed(self, opening: Opening) -> Opening:
        """The openings as every search takes them, whether it explores or not."""
        return opening

    def noisy(self, opening: Opening, noise: Noise) -> Opening:  # noqa: ARG002 (for those that need it)
        """The openings with noise in their logits."""
        return opening

    def guide(self, opening: Opening, noise: Noise) -> Guide:
        device = opening.logit.device
        gumbel, uniform = torch.from_numpy(noise.gumbel).to(device), torch.from_numpy(noise.uniform).to(device)
        return Guide(gumbel, torch.zeros(len(gumbel), 0, dtype=torch.int32, device=device), uniform)

    def rules(self, explore: bool) -> Rules:
        """How actions are chosen at the roots, and at all other nodes."""
        rule = self.rule(explore)
        return Rules(rule, rule)

    @abstractmethod
    def rule(self, explore: bool) -> Rule:
        """How actions are chosen at the roots."""

    @abstractmethod
    def read(self, grown: Grown, opening: Opening, guide: Guide) -> Plan:
        """What the grown trees say; the opening is without noise."""


@dataclass(frozen=True, kw_only=True)
class PolicyPlanner(TreePlanner):
    """A planner that looks at a policy.

    interior: how all nodes but the roots choose, by a rule that draws nothing; null: as the roots do. unimix: share of
    uniform probability in the prior of the roots, exploring or not, so that what is learned has it, too. Where all
    actions are worth the same it brings the policy back to uniform, and leaves the less to others the worse they are:
    docs/muzero.md has figures. It is no paper's; Dreamer's actor has such a share in its own words.
    """

    interior: Rule | None = None
    unimix: Share = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interior is not None:
            is_rule = hasattr(self.interior, "kind")  # a config may give anything
            require(is_rule, f"interior={self.interior!r}", "a rule of planner.rules, or null")
            require(self.interior.kind != UCB, "UcbRule as an interior rule", "one that chooses by a policy")
            require(not getattr(self.interior, "sampled", False), "an interior rule that draws", "sampled=false")
        require(0 <= self.unimix <= 1, f"unimix={self.unimix}", "from 0 to 1")

    def mixed(self, opening: Opening) -> Opening:
        return with_uniform(opening, self.unimix) if self.unimix else opening

    def rules(self, explore: bool) -> Rules:
        own = super().rules(explore)
        return own if self.interior is None else Rules(own.root, self.interior)


def silence(roots: int, actions: int) -> Noise:
    return Noise(np.zeros((roots, actions)), np.zeros((roots, actions)), np.zeros((roots, 0, 0)))


def with_dirichlet(opening: Opening, gamma: Float64[np.ndarray, "B A"], fraction: float) -> Opening:
    """Prior (1 - fraction) P + fraction Dirichlet, over the valid actions. Silver et al. (2017), "Methods"."""
    drawn, prior = torch.from_numpy(gamma).to(opening.logit.device) * opening.valid, opening.prior
    total = drawn.sum(1, keepdim=True)
    # Gammas of a small alpha may all be 0 by underflow, as they are without exploration; then there is no noise.
    mixed = torch.where(total > 0, (1 - fraction) * prior + fraction * drawn / total, prior)
    return replace(opening, logit=mixed.log())


def with_uniform(opening: Opening, fraction: float) -> Opening:
    """Prior (1 - fraction) P + fraction / A, over the A valid actions."""
    valid = opening.valid.double()
    uniform = valid / valid.sum(1, keepdim=True)
    return replace(opening, logit=((1 - fraction) * opening.prior + fraction * uniform).log())


def by_visits(
    counts: Float64[Tensor, "B A"], prior: Float64[Tensor, "B A"], gumbel: Float64[Tensor, "B A"], temperature: float
) -> Int64[Tensor, " B"]:
    """An action drawn in proportion to counts^(1 / temperature); the greatest if that is 0, ties by the prior.

    counts: visits, or the prior itself where there are none. Schrittwieser et al. (2020), appendix D.
    """
    return (counts.log() + 1e-6 * prior + temperature * gumbel).argmax(1)


def demand_heads(planner: Planner, model: Any) -> None:
    """ConfigError unless a planner looks at what the model tells of actions: their values, or a policy."""
    tells = bool(getattr(model, "by_actions", False))
    if not isinstance(planner, TreePlanner) or planner.by_values == tells:
        return
    kinds = ("a head `q` for values of actions", "heads `value` and `prior`")
    has, needs = kinds if tells else kinds[::-1]
    do = "set planner=gumbel or puct" if planner.by_values else "set planner=ucb_q"
    more = "model=muzero_q (muzero_grid_q for grids)" if planner.by_values else "model=muzero"
    raise ConfigError(
        f"a {type(planner).__name__} search in a model that has {has}", needs, f"{do}; or train with {more}"
    )
