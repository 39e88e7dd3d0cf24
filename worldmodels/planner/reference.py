"""The growth of trees in plain tensor operations, on any device: what `kernels` is tested against."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from worldmodels.planner.rules import UCB, Guide, GumbelRule, Rules, completed
from worldmodels.planner.simulator import Latent, Move, check_finite
from worldmodels.planner.tree import (
    ACTION,
    CHILD,
    COUNT,
    DISCOUNT,
    LOGIT,
    PARENT,
    PRIOR,
    RAW,
    REWARD,
    VALUE,
    VISITS,
    Grown,
    Q,
    Tree,
)


class Reference:
    """All trees step in lock-step; each level of the deepest costs a dozen small operations."""

    def __init__(self, tree: Tree, rules: Rules, guide: Guide) -> None:
        self.tree, self.rules, self.guide = tree, rules, guide
        self.rows = torch.arange(len(tree.nodes), device=tree.nodes.device)
        self.node = self.action = self.rows  # where the next nodes go

    def plant(self, logit: Float64[Tensor, "B A"], value: Float64[Tensor, " B"]) -> None:
        """Writes the roots; a logit of -inf is an action that can not be taken there."""
        tree = self.tree
        tree.extremes[:, 0], tree.extremes[:, 1] = torch.inf, -torch.inf
        tree.places[:, 0] = torch.tensor([-1, -1, 1], dtype=torch.int32)
        self._write(0, logit, value)

    def select(self, simulation: int) -> tuple[Latent, Int64[Tensor, " B"]]:
        """Latent and action of an edge without a child, for each tree."""
        node, action = torch.zeros_like(self.rows), torch.zeros_like(self.rows)
        going = torch.ones_like(self.rows, dtype=torch.bool)
        for depth in range(simulation + 1):
            chosen = self.rules.choose(self.tree.row(node if depth else None), self.guide, simulation, depth)
            action = torch.where(going, chosen, action)
            child = self.tree.links[self.rows, node, CHILD, action].long()
            going = going & (child >= 0)
            if not bool(going.any()):
                break
            node = torch.where(going, child, node)
        self.node, self.action = node, action
        return self.tree.latents.gather(node * len(self.rows) + self.rows), action.clone()

    def expand(self, simulation: int, move: Move) -> None:
        """Adds one node to each tree at the edges that `select` gave, and carries its value up."""
        check_finite(move, simulation)
        tree, parent, action, new = self.tree, self.node, self.action, simulation + 1
        value = self._write(new, move.prior.to(tree.edges), move.value.to(tree.nodes))
        tree.places[:, new, PARENT], tree.places[:, new, ACTION] = parent.int(), action.int()
        tree.places[:, new, COUNT] = 1
        tree.edges[self.rows, parent, REWARD, action] = move.reward.to(tree.edges)
        tree.edges[self.rows, parent, DISCOUNT, action] = move.discount.to(tree.edges)
        tree.links[self.rows, parent, CHILD, action] = new
        tree.latents.write(new, move.latent)
        self._backup(torch.full_like(parent, new), value)

    def read(self) -> Grown:
        """What is known of the roots in the end."""
        row = self.tree.row()
        q = completed(row)
        root = self.rules.root
        improved = root.improved(row, q) if isinstance(root, GumbelRule) else q.new_empty(len(q), 0)
        return Grown(self.tree, q, improved)

    def _write(self, node: int, logit: Float64[Tensor, "B A"], value: Float64[Tensor, " B"]) -> Float64[Tensor, " B"]:
        """Edges and values of a new node of each tree; what the node is worth."""
        tree, possible = self.tree, logit > -torch.inf
        tree.edges[:, node], tree.links[:, node, VISITS], tree.links[:, node, CHILD] = 0, 0, -1
        tree.edges[:, node, LOGIT], tree.edges[:, node, PRIOR] = logit, logit.softmax(1)
        if self.rules.root.kind == UCB:
            tree.edges[:, node, Q], value = torch.where(possible, logit, 0.0), logit.amax(1)
            self._extend(torch.where(possible, logit, torch.inf).amin(1), value, possible.any(1))
        tree.nodes[:, node, VALUE] = tree.nodes[:, node, RAW] = value
        return value

    def _backup(self, node: Int64[Tensor, " B"], back: Tensor) -> None:
        """From a new node up to the root; the mean of a node begins with its own evaluation."""
        tree, rows = self.tree, self.rows
        while bool((node > 0).any()):
            going = node > 0
            above = torch.where(going, tree.parent[rows, node], 0).long()
            taken = torch.where(going, tree.action[rows, node], 0).long()
            reward, discount = tree.reward[rows, above, taken], tree.discount[rows, above, taken]
            back = torch.where(going, reward + discount * back, back)
            count, value = tree.count[rows, above], tree.value[rows, above]
            tree.value[rows, above] = torch.where(going, (value * count + back) / (count + 1), value)
            tree.count[rows, above] = count + going.int()
            visits = tree.visits[rows, above, taken] + going.int()
            tree.visits[rows, above, taken] = visits
            q = reward + discount * tree.value[rows, node]
            if self.rules.root.kind == UCB:
                q = (tree.logit[rows, above, taken] + visits * q) / (1 + visits)
            q = torch.where(going, q, tree.q[rows, above, taken])
            tree.q[rows, above, taken] = q
            self._extend(q, q, going)
            node = above

    def _extend(self, low: Tensor, high: Tensor, going: Tensor) -> None:
        """Notes action values as extremes where still going."""
        extremes = self.tree.extremes
        extremes[:, 0] = torch.where(going, torch.minimum(extremes[:, 0], low), extremes[:, 0])
        extremes[:, 1] = torch.where(going, torch.maximum(extremes[:, 1], high), extremes[:, 1])
