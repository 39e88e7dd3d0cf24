"""B search trees as flat tensors: a node is a number, an edge is a node and an action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int, Int32, Int64
from torch import Tensor

from worldmodels.planner.latents import Bank

# Places within the packed tensors. A search hands four of them to compiled code instead of thirteen, which takes less
# time, and what is needed of one node lies side by side.
LOGIT, PRIOR, Q, REWARD, DISCOUNT = range(5)
CHILD, VISITS = range(2)
VALUE, RAW = range(2)
PARENT, ACTION, COUNT = range(3)


@dataclass(frozen=True)
class Row:
    """One node of each tree, with what the choice between its actions depends on."""

    logit: Float64[Tensor, "B A"]
    prior: Float64[Tensor, "B A"]  # softmax of logit
    q: Float64[Tensor, "B A"]
    visits: Int32[Tensor, "B A"]
    value: Float64[Tensor, "B 1"]  # mean of its own evaluation and of all returns that passed it
    raw: Float64[Tensor, "B 1"]  # the model's evaluation
    count: Int32[Tensor, "B 1"]  # 1 + visits of its actions
    low: Float64[Tensor, "B 1"]  # of all action values that the tree has had; inf before the first
    high: Float64[Tensor, "B 1"]
    valid: Bool[Tensor, "B A"]  # may be chosen: all but what is masked at the root


@dataclass(frozen=True)
class Tree:
    """B trees of N nodes, node 0 their roots, node i + 1 what simulation i added. All of them are in use.

    What an edge (node, action) says, (B, N, A): `logit` and `prior` of the policy (a root's with noise and mask),
    `visits`, `child` (-1: none), and where visited `q`, `reward`, `discount`. What a node says, (B, N): `value`, `raw`,
    `count`, and `parent` and `action` that lead to it (-1 at the root). `extremes` are the lowest and highest action
    value so far, (B, 2). `latents.read(node)` gives the model's latents of one node (B,) of each tree.
    """

    edges: Float64[Tensor, "B N 5 A"]
    links: Int32[Tensor, "B N 2 A"]
    nodes: Float64[Tensor, "B N 2"]
    places: Int32[Tensor, "B N 3"]
    extremes: Float64[Tensor, "B 2"]
    valid: Bool[Tensor, "B A"]  # of the roots
    latents: Bank

    @property
    def logit(self) -> Float64[Tensor, "B N A"]:
        return self.edges[:, :, LOGIT]

    @property
    def prior(self) -> Float64[Tensor, "B N A"]:
        return self.edges[:, :, PRIOR]

    @property
    def q(self) -> Float64[Tensor, "B N A"]:
        return self.edges[:, :, Q]

    @property
    def reward(self) -> Float64[Tensor, "B N A"]:
        return self.edges[:, :, REWARD]

    @property
    def discount(self) -> Float64[Tensor, "B N A"]:
        return self.edges[:, :, DISCOUNT]

    @property
    def child(self) -> Int32[Tensor, "B N A"]:
        return self.links[:, :, CHILD]

    @property
    def visits(self) -> Int32[Tensor, "B N A"]:
        return self.links[:, :, VISITS]

    @property
    def value(self) -> Float64[Tensor, "B N"]:
        return self.nodes[:, :, VALUE]

    @property
    def raw(self) -> Float64[Tensor, "B N"]:
        return self.nodes[:, :, RAW]

    @property
    def parent(self) -> Int32[Tensor, "B N"]:
        return self.places[:, :, PARENT]

    @property
    def action(self) -> Int32[Tensor, "B N"]:
        return self.places[:, :, ACTION]

    @property
    def count(self) -> Int32[Tensor, "B N"]:
        return self.places[:, :, COUNT]

    def row(self, node: Int64[Tensor, " B"] | None = None) -> Row:
        """One node of each tree; None is the roots."""
        valid = self.valid
        if node is None:
            edges, links, nodes, places = self.edges[:, 0], self.links[:, 0], self.nodes[:, 0], self.places[:, 0]
        else:
            tree = torch.arange(len(node), device=node.device)
            edges, links = self.edges[tree, node], self.links[tree, node]
            nodes, places = self.nodes[tree, node], self.places[tree, node]
            valid = valid | (node > 0)[:, None]
        return Row(
            *(edges[:, LOGIT], edges[:, PRIOR], edges[:, Q], links[:, VISITS]),
            *(nodes[:, VALUE, None], nodes[:, RAW, None], places[:, COUNT, None]),
            *(self.extremes[:, :1], self.extremes[:, 1:], valid),
        )

    def line(self, root: int) -> list[int]:
        """The actions of one tree that were visited most, from its root on, as far as it was searched."""
        node, actions = 0, list[int]()
        while int(self.count[root, node]) > 1:
            actions.append(int(self.visits[root, node].argmax()))
            node = int(self.child[root, node, actions[-1]])
        return actions

    def depth(self) -> Int[Tensor, " B"]:
        """How many actions the longest line of each tree has."""
        depth = torch.zeros_like(self.parent)
        for node in range(1, depth.shape[1]):  # parents come before their children
            depth[:, node] = depth.gather(1, self.parent[:, node, None].long())[:, 0] + 1
        return depth.amax(1).long()


class Grown(NamedTuple):
    """Trees, and what they say of their roots."""

    tree: Tree
    q: Float64[Tensor, "B A"]  # of each action; the mixed value where it was never visited
    improved: Float64[Tensor, "B G"]  # logits of the improved policy where the rule is Gumbel's, or else (B, 0)
