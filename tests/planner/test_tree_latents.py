"""A search gives each action the latents that it led from, whatever they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tables import BACKENDS, random_table, states
from torch import Tensor

from worldmodels.core.belief import Belief
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.simulator import Move, Root, Simulator


@dataclass(frozen=True)
class Pair(Belief):
    """A belief of two parts."""

    state: Tensor
    trace: Tensor  # the actions that led here, as digits


@pytest.mark.parametrize("backend", BACKENDS)
def test_latents_follow_their_actions(backend: str) -> None:
    """Whatever the latent is made of, a node's is what its actions made of the root's."""
    table = random_table()

    def root(state: Tensor) -> Root:
        return Root({"belief": Pair(state, torch.zeros(len(state))), "more": [state[:, None]]}, *table._root(state)[1:])

    def recurrent(latent: dict, action: Tensor) -> Move:
        belief = latent["belief"]
        move = table._recurrent(belief.state, action)
        return Move({"belief": Pair(move.latent, belief.trace * 10 + action), "more": latent["more"]}, *move[1:])

    start = states(8)
    found = Gumbel(simulations=20, backend=backend).plan(
        Simulator(root, recurrent), start, rng=np.random.default_rng(0)
    )
    bare = Gumbel(simulations=20, backend=backend).plan(table.simulator(), start, rng=np.random.default_rng(0))
    assert torch.equal(found.tree.edges, bare.tree.edges)
    for node in range(1, 21):
        latent = found.tree.latents.read(torch.full((8,), node))
        assert torch.equal(latent["more"][0][:, 0], start)
        for tree in range(8):
            state, digits, at = start[tree], [], node
            while at > 0:
                digits.insert(0, int(found.tree.action[tree, at]))
                at = int(found.tree.parent[tree, at])
            for digit in digits:
                state = table.next[state, digit]
            assert int(latent["belief"].state[tree]) == int(state)
            assert int(latent["belief"].trace[tree]) == int("0" + "".join(map(str, digits)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_latents_of_any_kind_and_layout_come_back_as_they_were_given(backend: str) -> None:
    table, given = random_table(), list[dict[str, Tensor]]()

    def latent(state: Tensor) -> dict[str, Tensor]:
        kinds = {
            "bool": state % 2 == 0,
            "bytes": state[:, None].repeat(1, 3).to(torch.int8),
            "none": state[:, None][:, :0],
        }
        wide = (state.double()[:, None, None] * torch.arange(1, 7).reshape(1, 2, 3)).transpose(1, 2)
        return {
            "state": state,
            **kinds,
            "strided": wide,
            "half": state.half(),
            "broadcast": state[:1, None].expand(8, 2),
        }

    def root(state: Tensor) -> Root:
        given.append(latent(state))
        return Root(given[0], *table._root(state)[1:])

    def recurrent(asked: dict[str, Tensor], action: Tensor) -> Move:
        move = table._recurrent(asked["state"], action)
        given.append(latent(move.latent))
        return Move(given[-1], *move[1:])

    found = Gumbel(simulations=20, backend=backend).plan(
        Simulator(root, recurrent), states(8), rng=np.random.default_rng(0)
    )
    for node, expected in enumerate(given):
        kept = found.tree.latents.read(torch.full((8,), node))
        assert all(torch.equal(kept[name], x) and kept[name].dtype is x.dtype for name, x in expected.items())
