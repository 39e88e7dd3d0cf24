"""The growth of trees by compiled loops, in the memory of the CPU, wherever the model lives."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from worldmodels.planner import kernels
from worldmodels.planner.rules import Guide, Rule
from worldmodels.planner.simulator import Move, check_finite
from worldmodels.planner.tree import Tree


class Compiled:
    """One tree after the other, each level a few dozen nanoseconds."""

    def __init__(self, tree: Tree, rule: Rule, guide: Guide) -> None:
        packed = (tree.edges, tree.links, tree.nodes, tree.places, tree.extremes)
        self._packed = tuple(part.numpy() for part in packed)
        self._kind = rule.kind
        guides = (guide.gumbel, guide.schedule, guide.uniform)
        self._rule = (
            *(tree.valid.numpy(), rule.kind, np.array(rule.numbers())),
            *(part.contiguous().numpy() for part in guides),
            np.empty(tree.valid.shape[1]),
        )
        self._parent, self._action = (np.zeros(len(tree.nodes), np.int64) for _ in range(2))
        self._views = torch.from_numpy(self._parent), torch.from_numpy(self._action)

    def select(self, simulation: int) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]:
        """Node and action of an edge without a child, for each tree. The tensors are overwritten by the next call."""
        kernels.select(*self._packed, *self._rule, simulation, self._parent, self._action)
        return self._views

    def expand(self, simulation: int, parent: Int64[Tensor, " B"], action: Int64[Tensor, " B"], move: Move) -> None:  # noqa: ARG002
        """Adds one node to each tree, at the edges that `select` gave, and carries its value up."""
        answer = (_array(part) for part in (move.reward, move.discount, move.prior, move.value))
        bad = kernels.expand(*self._packed, self._kind, simulation, self._parent, self._action, *answer)
        if bad >= 0:
            check_finite(move, simulation)


def _array(part: Float[Tensor, "..."]) -> Float[np.ndarray, "..."]:
    """In the memory of the CPU, in row order, float32 or float64."""
    if part.dtype not in (torch.float32, torch.float64):
        part = part.float()
    return part.detach().cpu().contiguous().numpy()
