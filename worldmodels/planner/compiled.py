"""The growth of trees by compiled loops, in the memory of the CPU, wherever the model lives."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from worldmodels.planner import kernels
from worldmodels.planner.rules import Guide, Rule
from worldmodels.planner.simulator import Move, check_finite, refuse
from worldmodels.planner.tree import Tree


class Compiled:
    """One tree after the other, each level a few dozen nanoseconds."""

    def __init__(self, tree: Tree, rule: Rule, guide: Guide) -> None:
        roots, nodes, _, actions = tree.edges.shape
        packed = (tree.edges, tree.links, tree.nodes, tree.places, tree.extremes, tree.valid)
        guides = (guide.gumbel, guide.schedule, guide.uniform)
        asked = torch.empty(4, nodes - 1, roots, dtype=torch.int64)
        self._trees = tuple(part.numpy() for part in packed)
        self._course = (
            *(rule.kind, np.array(rule.numbers())),
            *(part.contiguous().numpy() for part in guides),
            *(np.empty(actions), asked.numpy()),
        )
        self._action, self._place = asked[3].unbind(0), asked[2].unbind(0)

    def plant(self, logit: Float64[Tensor, "B A"], value: Float64[Tensor, " B"]) -> None:
        """Writes the roots; a logit of -inf is an action that can not be taken there."""
        kernels.plant(self._trees, self._course[0], logit.contiguous().numpy(), value.contiguous().numpy())

    def select(self, simulation: int) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]:
        """Place among the latents, and action, of an edge without a child, for each tree."""
        if simulation == 0:
            kernels.select(self._trees, self._course, 0)
        return self._place[simulation], self._action[simulation]

    def expand(self, simulation: int, move: Move) -> None:
        """Adds one node to each tree at the edges that `select` gave, carries its value up, selects the next edges."""
        broken = kernels.step(self._trees, self._course, simulation, *_arrays(move))
        if broken >= 0:
            check_finite(move, simulation)
            refuse("numbers beyond single precision, or one", simulation, broken)


def _arrays(move: Move) -> list[Float[np.ndarray, "..."]]:
    """Reward, discount, prior and value in the memory of the CPU, in row order, float32 or float64."""
    parts = [move.reward, move.discount, move.prior, move.value]
    if parts[0].is_cpu:
        return [_array(part) for part in parts]
    # Each transfer waits for the device, so that all go in one.
    columns = torch.cat([part.unflatten(0, (len(part), -1)).float() for part in parts], 1).cpu().numpy()
    return [np.ascontiguousarray(part) for part in (columns[:, 0], columns[:, 1], columns[:, 2:-1], columns[:, -1])]


def _array(part: Float[Tensor, "..."]) -> Float[np.ndarray, "..."]:
    if part.dtype is not torch.float32 and part.dtype is not torch.float64:
        part = part.float()
    return (part.detach() if part.requires_grad else part).contiguous().numpy()
