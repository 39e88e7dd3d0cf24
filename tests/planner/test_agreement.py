"""Compiled trees are those of the tensor operations, and a root's tree does not depend on the batch that it is in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import BACKENDS, PAIRS, PLANNERS, random_table, states

from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.plan import Plan, TreePlanner
from worldmodels.planner.rules import GumbelRule, PuctRule

PACKED = ("edges", "links", "nodes", "places", "extremes")


def invalid(roots: int, actions: int, seed: int) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    mask = draw.random((roots, actions)) < 0.4
    mask[np.arange(roots), draw.integers(actions, size=roots)] = False
    return torch.from_numpy(mask)


def assert_same(one: Plan, other: Plan) -> None:
    for name in PACKED:
        # Rounding may differ in the last digit, but no choice.
        torch.testing.assert_close(getattr(one.tree, name), getattr(other.tree, name), rtol=0, atol=1e-12)
    for name in ("action", "visits"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    for name in ("value", "q", "target"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [*PLANNERS, *PAIRS])
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    roots=st.integers(1, 9),
    actions=st.integers(1, 7),
    simulations=st.integers(0, 24),
    explore=st.booleans(),
    masked=st.booleans(),
)
def test_compiled_trees_are_those_of_the_reference(
    kind: Callable[..., TreePlanner], seed: int, roots: int, actions: int, simulations: int, explore: bool, masked: bool
) -> None:
    simulator = random_table(actions=actions, seed=seed).simulator()
    mask = invalid(roots, actions, seed) if masked else None
    one, other = (
        kind(simulations=simulations, backend=backend).plan(
            simulator, states(roots, seed), rng=np.random.default_rng(seed), explore=explore, invalid=mask
        )
        for backend in ("numba", "torch")
    )
    assert_same(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("roots", [1, 7, 64])
def test_roots_searched_together_are_as_searched_alone(kind: type[TreePlanner], roots: int, backend: str) -> None:
    simulator, planner = random_table().simulator(), kind(simulations=12, backend=backend)
    start, mask = states(roots), invalid(roots, 4, 0)
    noise = planner.draw(np.random.default_rng(1), roots, 4)
    rng = np.random.default_rng(0)
    together = planner.plan(simulator, start, rng=rng, invalid=mask, noise=noise)
    for root in range(0, roots, 9):
        one = slice(root, root + 1)
        alone = planner.plan(simulator, start[one], rng=rng, invalid=mask[one], noise=noise.rows(one))
        for name in PACKED:
            torch.testing.assert_close(getattr(alone.tree, name), getattr(together.tree, name)[one], rtol=0, atol=1e-12)
        assert torch.equal(alone.action, together.action[one])
        torch.testing.assert_close(alone.target, together.target[one], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", PLANNERS)
def test_all_chance_comes_from_the_generator(kind: type[TreePlanner]) -> None:
    simulator, planner = random_table().simulator(), kind(simulations=8, backend="torch")
    one, same, other = (
        planner.plan(simulator, states(32), rng=np.random.default_rng(seed)).tree.edges for seed in (3, 3, 4)
    )
    assert torch.equal(one, same)
    quiet = [planner.plan(simulator, states(32), rng=np.random.default_rng(seed), explore=False) for seed in (3, 4)]
    assert torch.equal(quiet[0].action, quiet[1].action)
    assert torch.equal(quiet[0].tree.edges, quiet[1].tree.edges)
    if kind.__name__ != "UcbQ":  # its noise is only in the actions, unless it is asked for
        assert not torch.equal(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interior_rule_that_is_the_roots_own_changes_nothing(backend: str) -> None:
    simulator = random_table().simulator()
    own = GumbelRule(c_visit=50.0, c_scale=0.1, min_range=1e-8)
    other = PuctRule(c1=1.25, c2=19652.0, scaling="tree", unvisited="minimum", min_range=1e-8)
    plain, same, differs = (
        Gumbel(simulations=24, interior=rule, backend=backend).plan(simulator, states(32), rng=np.random.default_rng(3))
        for rule in (None, own, other)
    )
    assert torch.equal(plain.tree.edges, same.tree.edges)
    assert not torch.equal(plain.tree.places, differs.tree.places)
    assert torch.equal(plain.tree.visits[:, 0].sum(1), differs.tree.visits[:, 0].sum(1))
