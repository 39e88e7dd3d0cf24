"""How a search chooses between the actions of a node, for one node of each of B trees at once.

`kernels` says the same in loops, for speed. Ties go to the first action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float64, Int32, Int64
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Rate
from worldmodels.planner.tree import Row

PUCT, GUMBEL, UCB, REGULARIZED = range(4)
NEWTON = 32  # steps at most; each at least halves the distance to the root, and near it they square it


@dataclass(frozen=True)
class Guide:
    """What is drawn or settled before a search and steers its choices. Parts that a rule does not use have A or n 0."""

    gumbel: Float64[Tensor, "B G"]  # noise added to the root's logits
    schedule: Int32[Tensor, "B S"]  # how often the root's action of simulation i has been visited before
    uniform: Float64[Tensor, "B U U"]  # by simulation and depth; one number per choice


@runtime_checkable
class Rule(Protocol):
    """`kind` and `numbers` tell the kernels which rule it is."""

    kind: ClassVar[int]

    def numbers(self) -> tuple[float, float, float, float, float]: ...

    def choose(self, row: Row, guide: Guide, simulation: int, depth: int) -> Int64[Tensor, " B"]: ...


@dataclass(frozen=True)
class Rules:
    """The rule of the roots, and that of all other nodes. UcbRule goes with itself alone, for it reads values."""

    root: Rule
    interior: Rule

    def choose(self, row: Row, guide: Guide, simulation: int, depth: int) -> Int64[Tensor, " B"]:
        return (self.interior if depth else self.root).choose(row, guide, simulation, depth)


@dataclass(frozen=True)
class PuctRule:
    """Q + P sqrt(N) / (1 + n) (c1 + log((N + c2 + 1) / c2)). Schrittwieser et al. (2020), appendix B, equation 2.

    N counts the node's own evaluation too, as in the paper's pseudocode and mctx: with the sum of the children's visits
    of the equation, a node's first choice would ignore its prior.
    """

    c1: Rate
    c2: Rate
    scaling: Literal["tree", "siblings"]
    unvisited: Literal["minimum", "parent"]
    min_range: Rate
    kind: ClassVar[int] = PUCT

    def __post_init__(self) -> None:
        require(self.scaling in ("tree", "siblings"), f"scaling={self.scaling!r}", "tree or siblings")
        require(self.unvisited in ("minimum", "parent"), f"unvisited={self.unvisited!r}", "minimum or parent")
        require(0 <= self.c1 < math.inf, f"c1={self.c1}", "a finite number of at least 0")
        require(0 < self.c2 < math.inf, f"c2={self.c2}", "a finite number above 0")
        require_range(self.min_range)

    def numbers(self) -> tuple[float, float, float, float, float]:
        return self.c1, self.c2, self.min_range, float(self.scaling == "siblings"), float(self.unvisited == "parent")

    def choose(self, row: Row, guide: Guide, simulation: int, depth: int) -> Int64[Tensor, " B"]:  # noqa: ARG002
        return best(self._value(row) + self._bonus(row), row)

    def _value(self, row: Row) -> Float64[Tensor, "B A"]:
        visited = row.visits > 0
        if self.scaling == "siblings":
            known = torch.where(visited, row.q, row.value)
            low = torch.minimum(row.value, known.amin(1, keepdim=True))
            high = torch.maximum(row.value, known.amax(1, keepdim=True))
        else:
            low, high = row.low, row.high
        scaled = rescaled(torch.where(visited, row.q, row.value), low, high, self.min_range)
        return scaled if self.unvisited == "parent" else torch.where(visited, scaled, 0.0)

    def _bonus(self, row: Row) -> Float64[Tensor, "B A"]:
        count = row.count.double()
        return row.prior * (count.sqrt() * (self.c1 + ((count + self.c2 + 1) / self.c2).log())) / (1 + row.visits)


@dataclass(frozen=True)
class GumbelRule:
    """Danihelka et al. (2022): sequential halving at the root, elsewhere what brings visits closest to `improved`.

    Sections 3.4 (the root), 5 (elsewhere, equation 14) and appendix D (values of what was not visited).
    """

    c_visit: Rate
    c_scale: Rate
    min_range: Rate
    kind: ClassVar[int] = GUMBEL

    def __post_init__(self) -> None:
        require(0 <= self.c_visit < math.inf, f"c_visit={self.c_visit}", "a finite number of at least 0")
        require(0 <= self.c_scale < math.inf, f"c_scale={self.c_scale}", "a finite number of at least 0")
        require_range(self.min_range)

    def numbers(self) -> tuple[float, float, float, float, float]:
        return self.c_visit, self.c_scale, self.min_range, 0.0, 0.0

    def choose(self, row: Row, guide: Guide, simulation: int, depth: int) -> Int64[Tensor, " B"]:
        improved = self.improved(row, completed(row))
        if depth == 0:
            return leading(improved + guide.gumbel, row.visits, guide.schedule[:, simulation, None], row.valid)
        return best(improved.softmax(1) - row.visits / row.count, row)

    def improved(self, row: Row, q: Float64[Tensor, "B A"]) -> Float64[Tensor, "B A"]:
        """Logits of the improved policy: logit + sigma(completed q), equations 8 and 11."""
        low, high = q.aminmax(dim=1, keepdim=True)
        most = row.visits.amax(1, keepdim=True)
        return row.logit + (self.c_visit + most) * (self.c_scale / (high - low).clamp(min=self.min_range)) * (q - low)


@dataclass(frozen=True)
class UcbRule:
    """Q + c sqrt(ln N / n): UCB1 of Auer et al. (2002), where an action's own value by the model is its first visit."""

    c: Rate
    min_range: Rate
    kind: ClassVar[int] = UCB

    def __post_init__(self) -> None:
        require(0 <= self.c < math.inf, f"c={self.c}", "a finite number of at least 0")
        require_range(self.min_range)

    def numbers(self) -> tuple[float, float, float, float, float]:
        return self.c, 0.0, self.min_range, 0.0, 0.0

    def choose(self, row: Row, guide: Guide, simulation: int, depth: int) -> Int64[Tensor, " B"]:  # noqa: ARG002
        n = 1 + row.visits
        total = torch.where(row.valid, n, 0).sum(1, keepdim=True)
        return best(rescaled(row.q, row.low, row.high, self.min_range) + self.c * (total.log() / n).sqrt(), row)


@dataclass(frozen=True)
class RegularizedRule:
    """Draws from pi = lambda P / (alpha - q), alpha such that it sums to 1. Grill et al. (2020), equation 9.

    lambda = c sqrt(N) / N with N as in PuctRule; the paper divides by N plus the number of actions. Values are scaled
    by the extremes of the tree, what was not visited has the lowest. Without `sampled`, it is not drawn: the action
    whose share of the visits is furthest below pi is taken.
    """

    c: Rate
    min_range: Rate
    sampled: bool = False
    kind: ClassVar[int] = REGULARIZED

    def __post_init__(self) -> None:
        require(0 < self.c < math.inf, f"c={self.c}", "a finite number above 0")
        require_range(self.min_range)

    def numbers(self) -> tuple[float, float, float, float, float]:
        return self.c, 0.0, self.min_range, float(self.sampled), 0.0

    def choose(self, row: Row, guide: Guide, simulation: int, depth: int) -> Int64[Tensor, " B"]:
        pi = self.policy(row)
        if not self.sampled:
            return best(pi - row.visits / row.count, row)
        below = pi.cumsum(1)
        total = below[:, -1:]
        drawn = (below <= guide.uniform[:, simulation, depth, None] * total).sum(1)
        return torch.minimum(drawn, (below < total).sum(1))  # by rounding, one might draw beyond what is possible

    def policy(self, row: Row) -> Float64[Tensor, "B A"]:
        """Probabilities; 0 where the prior is 0."""
        q = torch.where(row.visits > 0, rescaled(row.q, row.low, row.high, self.min_range), 0.0)
        weight = row.prior * (self.c / row.count.double().sqrt())
        possible = weight > 0
        alpha = torch.where(possible, q + weight, -torch.inf).amax(1, keepdim=True)  # sum(pi) - 1 is not negative here
        for _ in range(NEWTON):
            gap = torch.where(possible, alpha - q, 1.0)
            pi = weight / gap
            # The sum is convex and falls, so that Newton's steps come from the left and never pass the root.
            alpha = alpha + ((pi.sum(1, keepdim=True) - 1) / (pi / gap).sum(1, keepdim=True)).clamp(min=0)
        pi = weight / torch.where(possible, alpha - q, 1.0)
        return pi / pi.sum(1, keepdim=True)


def require_range(min_range: float) -> None:
    require(0 < min_range < math.inf, f"min_range={min_range}", "a finite number above 0")


def require(holds: bool, found: str, expected: str) -> None:
    """ConfigError unless it holds."""
    if not holds:
        raise ConfigError(found, expected, "choose another value")


def rescaled(
    q: Float64[Tensor, "B A"], low: Float64[Tensor, "B 1"], high: Float64[Tensor, "B 1"], min_range: float
) -> Float64[Tensor, "B A"]:
    """Values as shares of the way from low to high, in [0, 1]; all 0 if there are no extremes yet."""
    share = (q - low) / (high - low).clamp(min=min_range)
    return torch.where(high >= low, share.clamp(0, 1), 0.0)


def completed(row: Row) -> Float64[Tensor, "B A"]:
    """Action values; where never visited, the mixed value of the node. Danihelka et al. (2022), appendix D.

    The mixed value is the mean of the model's evaluation and, once per visit, of the visited actions' values weighted
    by their prior.
    """
    visited = row.visits > 0
    prior = torch.where(visited, row.prior.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    weight = prior.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    mean = (prior * row.q).sum(1, keepdim=True) / weight
    mixed = (row.raw + (row.count - 1) * mean) / row.count
    return torch.where(visited, row.q, mixed)


def leading(
    score: Float64[Tensor, "B A"],
    visits: Int32[Tensor, "B A"],
    wanted: Int32[Tensor, "B 1"],
    valid: Bool[Tensor, "B A"],
) -> Int64[Tensor, " B"]:
    """The valid action of the highest score among those visited as often as wanted."""
    return torch.where(valid & (visits == wanted), score, -torch.inf).argmax(1)


def best(score: Float64[Tensor, "B A"], row: Row) -> Int64[Tensor, " B"]:
    """The valid action of the highest score."""
    return torch.where(row.valid, score, -torch.inf).argmax(1)
