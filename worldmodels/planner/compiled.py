"""The growth of trees by compiled loops, in the memory of the CPU, wherever the model lives."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from worldmodels.planner import kernels
from worldmodels.planner.rules import Guide, Rule
from worldmodels.planner.simulator import Move, check_finite
from worldmodels.planner.tree import Tree


class Compiled:
    """One tree after the other, each level a few dozen nanoseconds."""

    def __init__(self, tree: Tree, rule: Rule, guide: Guide) -> None:
        roots, nodes, _, actions = tree.edges.shape
        # The place is read at once and can be written again; actions are the model's to keep.
        place, asked = (torch.empty(*shape, dtype=torch.int64) for shape in ((roots,), (nodes - 1, roots)))
        parts = (tree.edges, tree.links, tree.nodes, tree.places, tree.extremes, tree.valid)
        numbers = torch.tensor(rule.numbers(), dtype=torch.float64)
        guides = (guide.gumbel.contiguous(), guide.schedule.contiguous(), guide.uniform.contiguous())
        scratch = torch.empty(actions, dtype=torch.float64)
        self._kept = (*parts, *guides, scratch, place, asked, numbers)  # as long as there are addresses of them
        sizes = (roots, nodes, actions, rule.kind, *(part.shape[1] for part in guides), 0)
        self._memory = np.array([*sizes, *(part.data_ptr() for part in self._kept)])
        self._place, self._asked = place, asked.unbind(0)

    def plant(self, logit: Float64[Tensor, "B A"], value: Float64[Tensor, " B"]) -> None:
        """Writes the roots; a logit of -inf is an action that can not be taken there."""
        logit, value = logit.contiguous(), value.contiguous()
        kernels.plant(self._memory, logit.data_ptr(), value.data_ptr())

    def select(self, simulation: int) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]:
        """Place among the latents, and action, of an edge without a child, for each tree."""
        return self._place, self._asked[simulation]

    def expand(self, simulation: int, move: Move) -> None:
        """Adds one node to each tree at the edges that `select` gave, carries its value up, selects the next edges."""
        parts = _parts(move)
        if kernels.step(self._memory, simulation, *(part.data_ptr() for part in parts)) >= 0:
            check_finite(Move(None, *parts), simulation)


def _parts(move: Move) -> tuple[Float32[Tensor, "..."], ...]:
    """Reward, discount, prior and value in the memory of the CPU, in row order."""
    _, reward, discount, prior, value = move
    if reward.is_cpu:
        return reward.contiguous(), discount.contiguous(), prior.contiguous(), value.contiguous()
    # Each transfer waits for the device, so that all go in one.
    columns = torch.cat([reward[:, None], discount[:, None], value[:, None], prior], 1).cpu()
    return (
        columns[:, 0].contiguous(),
        columns[:, 1].contiguous(),
        columns[:, 3:].contiguous(),
        columns[:, 2].contiguous(),
    )
