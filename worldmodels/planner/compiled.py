"""The growth of trees by compiled loops, in the memory of the CPU, wherever the model lives."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from worldmodels.planner import kernels
from worldmodels.planner.rules import GUMBEL, Guide, Rules
from worldmodels.planner.simulator import Latent, Move, check_finite
from worldmodels.planner.tree import Grown, Tree


class Compiled:
    """One tree after the other, each level a few dozen nanoseconds."""

    def __init__(self, tree: Tree, rules: Rules, guide: Guide) -> None:
        roots, nodes, _, actions = tree.edges.shape
        # Places and actions are read at once and can be written again; copies of the actions are the model's to keep.
        edge, asked = (torch.empty(*shape, dtype=torch.int64) for shape in ((2, roots), (nodes - 1, roots)))
        parts = (tree.edges, tree.links, tree.nodes, tree.places, tree.extremes, tree.valid)
        numbers = torch.from_numpy(np.array([rules.root.numbers(), rules.interior.numbers()]))
        guides = (guide.gumbel.contiguous(), guide.schedule.contiguous(), guide.uniform.contiguous())
        scratch = torch.empty(actions, dtype=torch.float64)
        self._kept = (*parts, *guides, scratch, edge, asked, numbers)  # as long as there are addresses of them
        self._tree, self._gumbel = tree, rules.root.kind == GUMBEL
        self._latents, self._near = tree.latents, tree.latents.device.type == "cpu"
        flat = tree.latents.flat if self._near else []
        kinds = (rules.root.kind, rules.interior.kind)
        sizes = (roots, nodes, actions, kinds[0], *(part.shape[1] for part in guides), len(flat))
        copies = [number for leaf in flat for number in (leaf.data_ptr(), leaf[0].nbytes, 0, 0)]
        self._memory = np.array([*sizes, *(part.data_ptr() for part in self._kept), kinds[1], *copies])
        self._place, self._asked, self._next = edge[0], asked.unbind(0), None

    def plant(self, logit: Float64[Tensor, "B A"], value: Float64[Tensor, " B"]) -> None:
        """Writes the roots; a logit of -inf is an action that can not be taken there."""
        logit, value = logit.contiguous(), value.contiguous()
        kernels.plant(self._memory, logit.data_ptr(), value.data_ptr())

    def select(self, simulation: int) -> tuple[Latent, Int64[Tensor, " B"]]:
        """Latent and action of an edge without a child, for each tree."""
        action = self._asked[simulation]
        if self._near:
            return self._next if simulation else self._latents.gather(self._place), action
        device = self._latents.device
        return self._latents.gather(self._place.to(device)), action.to(device)

    def expand(self, simulation: int, move: Move) -> None:
        """Adds one node to each tree at the edges that `select` gave, carries its value up, selects the next edges."""
        reward, discount, prior, value = _parts(move)
        memory, at = self._memory, kernels.COPIES + 2
        leaves, copies = list[Tensor](), list[Tensor]()  # as long as there are addresses of them
        for leaf in self._latents.leaves(move.latent) if self._near else ():
            leaves.append(leaf := leaf.contiguous())
            copies.append(copy := torch.empty_like(leaf))
            memory[at], memory[at + 1] = leaf.data_ptr(), copy.data_ptr()
            at += 4
        told = reward.data_ptr(), discount.data_ptr(), prior.data_ptr(), value.data_ptr()
        if kernels.step(memory, simulation, *told) >= 0:
            check_finite(Move(None, reward, discount, prior, value), simulation)
        if self._near:
            self._next = self._latents.rebuilt(copies)
        else:
            self._latents.write(simulation + 1, move.latent)

    def read(self) -> Grown:
        """What is known of the roots in the end."""
        tree = self._tree
        q = torch.empty(tree.valid.shape, dtype=torch.float64)
        improved = torch.empty_like(q if self._gumbel else q[:, :0])
        kernels.read(self._memory, q.data_ptr(), improved.data_ptr())
        return Grown(tree, q, improved)


def _parts(move: Move) -> tuple[Float32[Tensor, "..."], ...]:
    """Reward, discount, prior and value in the memory of the CPU, in row order."""
    _, reward, discount, prior, value = move
    if reward.is_cpu and discount.is_cpu and prior.is_cpu and value.is_cpu:
        return reward.contiguous(), discount.contiguous(), prior.contiguous(), value.contiguous()
    # Each transfer waits for the device, so that all go in one.
    numbers = (part.to(prior.device)[:, None] for part in (reward, discount, value))
    columns = torch.cat([*numbers, prior], 1).cpu()
    return (
        columns[:, 0].contiguous(),
        columns[:, 1].contiguous(),
        columns[:, 3:].contiguous(),
        columns[:, 2].contiguous(),
    )
