"""What a search is given may lie and be made as it likes; what does not fit is named, and no memory is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tables import BACKENDS, PLANNERS, random_table, states
from torch import Tensor

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.plan import Plan, TreePlanner, demand_heads
from worldmodels.planner.puct import Puct
from worldmodels.planner.regularized import Regularized
from worldmodels.planner.simulator import Move, Root, Simulator
from worldmodels.planner.ucb_q import UcbQ

B, A = 8, 4
Wrap = Callable[[Tensor], Any]


def planned(root: Wrap, later: Wrap, backend: str = "numba", spoil: Callable[[Tensor], Any] | None = None) -> Plan:
    """A search whose latents are what these make of states, which they hold as `state`."""
    table = random_table(actions=A)

    def recurrent(latent: Any, action: Tensor) -> Move:
        move = table._recurrent(latent["state"], action)
        if spoil is not None:
            spoil(action)
        return Move(later(move.latent), *move[1:])

    simulator = Simulator(lambda state: Root(root(state), *table._root(state)[1:]), recurrent)
    return Gumbel(simulations=20, backend=backend).plan(simulator, states(B), rng=np.random.default_rng(0))


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mask_may_lie_in_any_order(kind: type[TreePlanner], backend: str) -> None:
    mask = np.random.default_rng(1).random((B, A)) < 0.6
    mask[:, 2] = False
    found = list[Plan]()
    for each in (torch.from_numpy(mask), torch.from_numpy(np.asfortranarray(mask))):
        table, rng = random_table(actions=A), np.random.default_rng(0)
        found.append(kind(simulations=16, backend=backend).plan(table.simulator(), states(B), rng=rng, invalid=each))
        assert found[-1].visits[torch.from_numpy(mask)].sum() == 0
        assert not mask[np.arange(B), found[-1].action.numpy()].any()
    assert torch.equal(found[0].visits, found[1].visits)
    assert torch.equal(found[0].q, found[1].q)


@pytest.mark.parametrize("backend", BACKENDS)
def test_latents_are_told_apart_by_name_not_by_order(backend: str) -> None:
    other = torch.zeros(B, dtype=torch.int64)
    plain = planned(lambda s: {"state": s, "other": other}, lambda s: {"state": s, "other": other}, backend)
    turned = planned(lambda s: {"state": s, "other": other}, lambda s: {"other": other, "state": s}, backend)
    assert torch.equal(plain.tree.edges, turned.tree.edges)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_model_does_to_the_actions_it_is_asked_about_changes_no_search(backend: str) -> None:
    kind: Wrap = lambda state: {"state": state}  # noqa: E731
    spoiled = planned(kind, kind, backend, spoil=lambda action: action.fill_(1_000_000))
    assert torch.equal(spoiled.tree.edges, planned(kind, kind, backend).tree.edges)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("root", "later", "message"),
    [
        (lambda s: {"state": s, "more": torch.ones(1, 99)}, None, r"latent of shape \(1, 99\)[\s\S]*\(8, \.\.\.\)"),
        (lambda s: {"state": s, "more": torch.ones(())}, None, r"latent of shape \(\)"),
        (lambda s: {"state": s, "more": s.to("meta")}, None, r"on meta[\s\S]*one device for all"),
        (lambda s: {"state": s}, lambda s: {"state": s, "more": s}, r"a dict of state, more[\s\S]*a dict of state, as"),
        (lambda s: {"state": s, "m": [s]}, lambda s: {"state": s, "m": [s, s]}, r"a list of 2[\s\S]*a list of 1"),
        (lambda s: {"state": s, "m": [s]}, lambda s: {"state": s, "m": s}, r"a Tensor[\s\S]*a list of 1"),
        (lambda s: {"state": s}, lambda s: {"state": s[:2]}, r"latent of shape \(2,\)[\s\S]*as at the root"),
        (lambda s: {"state": s}, lambda s: {"state": s.to("meta")}, r"on meta[\s\S]*on cpu, as at the root"),
    ],
)
def test_latents_that_do_not_fit_are_named(root: Wrap, later: Wrap | None, message: str, backend: str) -> None:
    with pytest.raises(SpecError, match=message):
        planned(root, later or root, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_that_was_drawn_for_another_search_is_refused(backend: str) -> None:
    table, rng = random_table(actions=A), np.random.default_rng(0)
    short = Regularized(simulations=2, backend=backend).draw(rng, B, A)
    for planner, noise in (
        (Regularized(simulations=64, backend=backend), short),
        (UcbQ(backend=backend), short),
        (Puct(backend=backend), Puct().draw(rng, B, A + 1)),
        (Gumbel(backend=backend), Gumbel().draw(rng, B + 1, A)),
    ):
        with pytest.raises(SpecError, match=r"noise of[\s\S]*8 roots and 4 actions[\s\S]*planner\.draw"):
            planner.plan(table.simulator(), states(B), rng=rng, noise=noise)


@pytest.mark.parametrize(
    ("planner", "by_actions", "message"),
    [
        (UcbQ(), False, r"heads `value` and `prior`[\s\S]*head `q`[\s\S]*planner=gumbel or puct; or train with"),
        (Gumbel(), True, r"head `q`[\s\S]*heads `value` and `prior`[\s\S]*planner=ucb_q"),
        (Puct(), True, r"planner=ucb_q"),
    ],
)
def test_a_search_that_looks_at_other_heads_is_refused(planner: TreePlanner, by_actions: bool, message: str) -> None:
    model = torch.nn.Module()
    model.by_actions = by_actions  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=message):
        demand_heads(planner, model)
    model.by_actions = not by_actions  # pyright: ignore[reportArgumentType]
    demand_heads(planner, model)
