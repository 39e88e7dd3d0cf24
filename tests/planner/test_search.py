"""What every search has to find, and what it must not break."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from tables import BACKENDS, PLANNERS, Table, constant_table, random_table, states
from torch import Tensor

from worldmodels.core.errors import MissingExtraError, SpecError
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.plan import Plan, TreePlanner
from worldmodels.planner.puct import Puct
from worldmodels.planner.simulator import Move, SearchError, Simulator
from worldmodels.planner.ucb_q import UcbQ

ROOTS = 64


def plan(planner: TreePlanner, table: Table, start: Tensor | None = None, **options) -> Plan:
    start = torch.zeros(ROOTS, dtype=torch.int64) if start is None else start
    return planner.plan(table.simulator(), start, rng=np.random.default_rng(0), **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PLANNERS)
def test_a_reward_reaches_the_root(kind: type[TreePlanner], backend: str) -> None:
    table = constant_table(reward=torch.tensor([[0.0, 1.0, 0.0]]))
    found = plan(kind(simulations=16, backend=backend), table, explore=False)
    assert (found.action == 1).float().mean() >= 0.99
    if kind is not UcbQ:  # whose first visit is the model's word, 0
        assert (found.q[:, 1] >= 1).all()
    assert (found.q[:, 1] > found.q[:, [0, 2]].amax(1)).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PLANNERS)
def test_a_reward_two_steps_away_is_found(kind: type[TreePlanner], backend: str) -> None:
    after = torch.tensor([[1, 2, 1], [1, 1, 1], [2, 2, 2]])
    reward = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    table = Table(after, reward, torch.full((3, 3), 0.99), torch.zeros(3, 3), torch.zeros(3))
    found = plan(kind(simulations=32, backend=backend), table, explore=False)
    assert (found.action == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PLANNERS)
def test_nothing_counts_after_the_end_of_the_world(kind: type[TreePlanner], backend: str) -> None:
    table = random_table()
    table.discount = torch.zeros_like(table.discount)
    start = states(ROOTS)
    found = plan(kind(simulations=20, backend=backend), table, start)
    visited = found.visits > 0
    if kind is UcbQ:
        mean = (table.prior[start] + found.visits * table.reward[start]) / (1 + found.visits)
        torch.testing.assert_close(found.q[visited].float(), mean[visited])
    else:
        torch.testing.assert_close(found.q[visited].float(), table.reward[start][visited])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [kind for kind in PLANNERS if kind is not UcbQ])
def test_the_first_return_counts_whole(kind: type[TreePlanner], backend: str) -> None:
    table = random_table()
    start = states(ROOTS)
    found = plan(kind(simulations=1, backend=backend), table, start)
    taken = found.visits.argmax(1)
    expected = table.reward[start, taken] + table.discount[start, taken] * table.value[table.next[start, taken]]
    torch.testing.assert_close(found.q.gather(1, taken[:, None])[:, 0].float(), expected)
    torch.testing.assert_close(found.value.float(), (table.value[start] + expected) / 2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PLANNERS)
def test_visits_and_values_add_up(kind: type[TreePlanner], backend: str) -> None:
    table = random_table()
    found = plan(kind(simulations=30, backend=backend), table, states(ROOTS))
    tree = found.tree
    assert (found.visits.sum(1) == 30).all()
    torch.testing.assert_close(found.target.sum(1), torch.ones(ROOTS, dtype=torch.float64))
    assert (tree.count == 1 + tree.visits.sum(2)).all()
    assert ((tree.child >= 0) == (tree.visits > 0)).all()
    rows = torch.arange(ROOTS)
    for node in range(1, 31):  # every node is its parent's child by its action
        assert (tree.child[rows, tree.parent[:, node].long(), tree.action[:, node].long()] == node).all()
    if kind is not UcbQ:
        # A node's value is the mean of its evaluation and of what came back through its actions.
        total = tree.raw + (tree.visits * tree.q).sum(2)
        torch.testing.assert_close(tree.value, total / tree.count)
    visited = tree.visits > 0
    low, high = tree.extremes[:, 0, None, None], tree.extremes[:, 1, None, None]
    assert (~visited | ((tree.q >= low) & (tree.q <= high))).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PLANNERS)
def test_equal_values_break_nothing(kind: type[TreePlanner], backend: str) -> None:
    found = plan(kind(simulations=20, backend=backend), constant_table())
    for part in (found.q, found.target, found.value, found.tree.edges, found.tree.nodes):
        assert torch.isfinite(part).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PLANNERS)
def test_without_simulations_the_model_is_taken_at_its_word(kind: type[TreePlanner], backend: str) -> None:
    table, start = random_table(), states(ROOTS)
    found = plan(kind(simulations=0, backend=backend), table, start, explore=False)
    assert (found.visits == 0).all()
    assert torch.equal(found.action, table.prior[start].argmax(1))
    torch.testing.assert_close(found.target, table.prior[start].double().softmax(1))
    value = table.prior[start].amax(1) if kind is UcbQ else table.value[start]
    torch.testing.assert_close(found.value.float(), value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PLANNERS)
def test_an_invalid_action_is_never_taken_at_the_root(kind: type[TreePlanner], backend: str) -> None:
    table = constant_table(reward=torch.tensor([[0.0, 5.0, 0.1]]), prior=torch.tensor([[0.0, 9.0, 0.0]]))
    invalid = torch.tensor([[False, True, False]]).expand(ROOTS, 3)
    found = plan(kind(simulations=16, backend=backend), table, invalid=invalid)
    assert (found.action != 1).all()
    assert (found.visits[:, 1] == 0).all()
    assert (found.target[:, 1] == 0).all()
    assert (found.tree.visits[:, 1:, 1] > 0).any()  # further down it may be


def test_a_tree_tells_its_main_line() -> None:
    table = constant_table(reward=torch.tensor([[0.0, 1.0, 0.0]]))
    tree = plan(Puct(simulations=40, backend="torch"), table, explore=False).tree
    line = tree.line(0)
    assert line[:2] == [1, 1]
    assert len(line) <= int(tree.depth()[0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["reward", "discount", "prior", "value"])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_is_located(name: str, wrong: float, backend: str) -> None:
    table, calls = random_table(), []

    def recurrent(state: Tensor, action: Tensor) -> Move:
        move = table._recurrent(state, action)
        calls.append(action)
        if len(calls) == 4:
            getattr(move, name)[2] = wrong
        return move

    planner = Gumbel(simulations=8, backend=backend)
    with pytest.raises(SearchError, match=f"{name} that is not finite, at simulation 3, root 2 "):
        planner.plan(Simulator(table._root, recurrent), states(5), rng=np.random.default_rng(0))


def test_a_root_that_is_not_finite_is_located() -> None:
    table = random_table()
    table.value[7] = torch.nan
    with pytest.raises(SearchError, match="value that is not finite, for the root itself, root 1 "):
        plan(Puct(backend="torch"), table, torch.tensor([3, 7]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda move: move._replace(reward=move.reward[:, None]), r"recurrent gave reward of shape \(5, 1\)"),
        (lambda move: move._replace(prior=move.prior[:, :2]), r"recurrent gave prior of shape \(5, 2\)"),
        (lambda move: move._replace(value=move.value.long()), "recurrent gave value of torch.int64"),
        (lambda move: move._replace(latent=move.latent[:, None]), r"a latent of shape \(5, 1\)"),
    ],
)
def test_a_wrong_shape_is_told(change, message: str) -> None:
    table = random_table()

    def recurrent(state: Tensor, action: Tensor) -> Move:
        return change(table._recurrent(state, action))

    with pytest.raises(SpecError, match=message):
        Puct(simulations=2, backend="torch").plan(
            Simulator(table._root, recurrent), states(5), rng=np.random.default_rng(0)
        )


def test_a_model_may_answer_in_half_precision() -> None:
    table = random_table()
    for part in ("reward", "discount", "prior", "value"):
        setattr(table, part, getattr(table, part).to(torch.bfloat16))
    found = plan(Gumbel(simulations=8), table, states(8))
    assert torch.isfinite(found.tree.edges).all()


def test_without_numba_a_search_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[search\]'.*, or set planner.backend=torch"):
        Gumbel()
    assert plan(Gumbel(simulations=2, backend="torch"), random_table(), states(3)).visits.sum() == 6


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        (torch.zeros(5, 3, dtype=torch.bool), r"invalid of shape \(5, 3\)"),
        (torch.ones(5, 4, dtype=torch.bool), "no valid action at root 0"),
    ],
)
def test_a_wrong_mask_is_told(invalid: Tensor, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan(Puct(backend="torch"), random_table(), states(5), invalid=invalid)


def test_plans_may_be_learnt_from() -> None:
    """They are no inference tensors, and the model's gradients are not kept."""
    table = random_table()
    table.prior.requires_grad_()
    found = plan(Gumbel(simulations=4), table, states(8))
    loss = -(found.target.float() * table.prior[states(8)].log_softmax(1)).sum()
    loss.backward()
    assert table.prior.grad is not None
    assert not found.target.requires_grad


@pytest.mark.parametrize("simulations", [0, 12])
def test_what_is_learnt_from_muzeros_search_may_be_the_improved_policy(simulations: int) -> None:
    """Danihelka et al. (2022), equations 8 and 10: softmax(logit + (c_visit + max N) c_scale q), without root noise."""
    table, start = random_table(), states(16)
    found = plan(Puct(simulations=simulations, target="improved"), table, start)
    for b, state in enumerate(start.tolist()):
        logit, visits, q = table.prior[state].double(), found.visits[b], found.q[b]
        prior, tried = logit.softmax(0), found.visits[b] > 0
        mixed = table.value[state].double()
        if simulations:
            mean = (prior[tried] * q[tried]).sum() / prior[tried].sum()
            mixed = (mixed + simulations * mean) / (1 + simulations)
        completed = torch.where(tried, q, mixed)
        low, high = completed.min(), completed.max()
        scale = (50 + visits.max()) * 0.1
        expected = (logit + scale * (completed - low) / (high - low).clamp(min=1e-8)).softmax(0)
        torch.testing.assert_close(found.target[b], expected)
