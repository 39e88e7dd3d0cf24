"""Each way to choose, against what its paper says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tables import BACKENDS, Table, constant_table, random_table, states

from worldmodels.core.errors import ConfigError
from worldmodels.planner.gumbel import Gumbel, schedules
from worldmodels.planner.puct import Puct
from worldmodels.planner.regularized import Regularized
from worldmodels.planner.rules import GumbelRule, PuctRule, RegularizedRule, UcbRule
from worldmodels.planner.sampled import Sampled
from worldmodels.planner.ucb_q import UcbQ


def visits_by_paper(table: Table, state: int, simulations: int) -> list[int]:
    """MuZero's search of one root with objects, after the pseudocode of Schrittwieser et al. (2020)."""

    def node(state: int, reward: float = 0.0, discount: float = 1.0) -> dict:
        prior = table.prior[state].double().softmax(0).tolist()
        value = float(table.value[state])
        return {
            "state": state,
            "r": reward,
            "d": discount,
            "p": prior,
            "n": 1,
            "sum": value,
            "v": value,
            "children": {},
        }

    root, low, high = node(state), math.inf, -math.inf

    def q(child: dict) -> float:
        return child["r"] + child["d"] * child["sum"] / child["n"]

    for _ in range(simulations):
        path, actions = [root], []
        while True:
            here, scores = path[-1], []
            for a, p in enumerate(here["p"]):
                child = here["children"].get(a)
                scaled = (q(child) - low) / max(high - low, 1e-8) if child else 0.0
                weight = 1.25 + math.log((here["n"] + 19652 + 1) / 19652)
                scores.append(scaled + p * weight * math.sqrt(here["n"]) / (1 + (child["n"] if child else 0)))
            actions.append(int(np.argmax(scores)))
            if actions[-1] not in here["children"]:
                break
            path.append(here["children"][actions[-1]])
        s, a = path[-1]["state"], actions[-1]
        new = node(int(table.next[s, a]), float(table.reward[s, a]), float(table.discount[s, a]))
        path[-1]["children"][a] = new
        back, below = new["v"], new
        for above in reversed(path):
            back = below["r"] + below["d"] * back
            above["n"] += 1
            above["sum"] += back
            low, high = min(low, q(below)), max(high, q(below))
            below = above
    return [root["children"][a]["n"] if a in root["children"] else 0 for a in range(len(root["p"]))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_puct_is_the_papers(backend: str) -> None:
    table, start = random_table(), states(32)
    found = Puct(simulations=40, backend=backend).plan(
        table.simulator(), start, rng=np.random.default_rng(0), explore=False
    )
    assert found.visits.tolist() == [visits_by_paper(table, int(state), 40) for state in start]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("logits", [[4.0, 0.0, -4.0], [0.0, 0.0, 0.0]])
def test_where_all_values_are_equal_the_improved_policy_is_the_prior(logits: list[float], backend: str) -> None:
    table = constant_table(prior=torch.tensor([logits]))
    found = Gumbel(simulations=16, backend=backend).plan(
        table.simulator(), torch.zeros(4, dtype=torch.int64), rng=np.random.default_rng(0)
    )
    torch.testing.assert_close(found.target[0], torch.tensor(logits, dtype=torch.float64).softmax(0), rtol=0, atol=1e-6)


def test_two_gumbel_searches_try_other_actions() -> None:
    table, planner = constant_table(actions=6), Gumbel(simulations=2, max_considered=2)
    rng, start = np.random.default_rng(0), torch.zeros(64, dtype=torch.int64)
    tried = [planner.plan(table.simulator(), start, rng=rng).visits > 0 for _ in range(2)]
    assert not torch.equal(*tried)
    assert tried[0].any(0).all()  # among the roots, each action is tried somewhere


@pytest.mark.parametrize(("considered", "simulations"), [(1, 5), (2, 2), (3, 32), (4, 4), (6, 16), (6, 50), (16, 5)])
def test_halving_visits_the_leading_actions_equally_often(considered: int, simulations: int) -> None:
    table = schedules(considered, considered + 1, simulations)
    assert torch.equal(table[considered], table[considered + 1])  # more valid actions than are considered
    order = table[considered].tolist()
    assert len(order) == simulations
    counts = [0] * considered  # sorted from the leading to the least
    for wanted in order:
        assert wanted in counts
        counts[counts.index(wanted)] += 1
    phases = max(1, math.ceil(math.log2(considered)))
    first = max(1, simulations // (phases * considered)) * considered
    if first <= simulations and considered > 1:
        assert order[:first] == [i // considered for i in range(first)]


def test_gumbel_acts_by_the_prior_without_simulations() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    roots = 20_000
    found = Gumbel(simulations=0).plan(
        constant_table(prior=logits).simulator(),
        torch.zeros(roots, dtype=torch.int64),
        rng=np.random.default_rng(0),
    )
    share = torch.bincount(found.action, minlength=3) / roots
    torch.testing.assert_close(share, logits[0].softmax(0), rtol=0, atol=0.015)


def test_the_regularised_policy_solves_its_equation() -> None:
    table, start = random_table(actions=6), states(64)
    found = Regularized(simulations=20, dirichlet_fraction=0.0).plan(
        table.simulator(), start, rng=np.random.default_rng(0)
    )
    row, pi = found.tree.row(), found.target
    q = torch.where(row.visits > 0, (row.q - row.low) / (row.high - row.low), 0.0)
    weight = 1.25 / row.count.double().sqrt() * row.prior
    alpha = q + weight / pi  # of pi = lambda P / (alpha - q), the same for all actions
    torch.testing.assert_close(alpha, alpha[:, :1].expand_as(alpha), rtol=0, atol=1e-9)
    torch.testing.assert_close(pi.sum(1), torch.ones(64, dtype=torch.float64))


def test_a_regularised_search_draws_by_its_policy() -> None:
    """Where all values are equal it is the prior, here at the roots' first visit."""
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    roots = 20_000
    found = Regularized(simulations=1, dirichlet_fraction=0.0).plan(
        constant_table(prior=logits).simulator(),
        torch.zeros(roots, dtype=torch.int64),
        rng=np.random.default_rng(0),
    )
    share = found.visits.double().mean(0)
    torch.testing.assert_close(share.float(), logits[0].softmax(0), rtol=0, atol=0.015)
    assert isinstance(Regularized().rule(explore=True), RegularizedRule)


def test_epsilon_is_the_share_of_random_actions() -> None:
    roots, epsilon = 20_000, 0.3
    table = constant_table(prior=torch.tensor([[0.0, 1.0, 0.0]]))
    start = torch.zeros(roots, dtype=torch.int64)
    planner = UcbQ(simulations=0, epsilon=epsilon)
    other = (planner.plan(table.simulator(), start, rng=np.random.default_rng(0)).action != 1).double().mean()
    expected = epsilon * 2 / 3
    assert abs(float(other) - expected) < 3 * math.sqrt(expected * (1 - expected) / roots)
    assert (planner.plan(table.simulator(), start, rng=np.random.default_rng(0), explore=False).action == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_in_action_values_is_taken_out_again(backend: str) -> None:
    table, start = random_table(), states(32)
    noisy = UcbQ(simulations=0, dirichlet_fraction=0.5, backend=backend).plan(
        table.simulator(), start, rng=np.random.default_rng(0)
    )
    torch.testing.assert_close(noisy.q.float(), table.prior[start])
    assert not torch.allclose(noisy.tree.logit[:, 0].float(), table.prior[start])
    torch.testing.assert_close(noisy.tree.logit[:, 0].mean(1).float(), table.prior[start].mean(1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_that_leaves_actions_nothing_keeps_values_finite(backend: str) -> None:
    table = random_table()
    table.prior = 1000 * table.prior
    planner = UcbQ(simulations=5, dirichlet_fraction=1.0, dirichlet_alpha=0.003, backend=backend)
    found = planner.plan(table.simulator(), states(32), rng=np.random.default_rng(0))
    assert found.q.isfinite().all()
    assert found.value.isfinite().all()
    assert found.target.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_temperature_sharpens_the_shares_of_visits(temperature: float) -> None:
    table, roots = constant_table(prior=torch.tensor([[1.0, 0.0, -1.0]])), 20_000
    start = torch.zeros(roots, dtype=torch.int64)
    planner = Puct(simulations=10, dirichlet_fraction=0.0, temperature=temperature)
    found = planner.plan(table.simulator(), start, rng=np.random.default_rng(0))
    share = torch.bincount(found.action, minlength=3) / roots
    visits = found.visits[0].float()
    expected = (visits ** (1 / temperature)) if temperature else (visits == visits.max()).float()
    torch.testing.assert_close(share, expected / expected.sum(), rtol=0, atol=0.015)


def test_dirichlet_noise_goes_to_valid_actions_alone() -> None:
    table, roots = constant_table(), 5000
    invalid = torch.tensor([[False, True, False]]).expand(roots, 3)
    planner = Puct(simulations=1, dirichlet_alpha=0.5, dirichlet_fraction=0.25)
    start = torch.zeros(roots, dtype=torch.int64)
    prior = planner.plan(table.simulator(), start, rng=np.random.default_rng(0), invalid=invalid).tree.prior[:, 0]
    assert (prior[:, 1] == 0).all()
    torch.testing.assert_close(prior.sum(1), torch.ones(roots, dtype=torch.float64))
    noise = (prior[:, 0] - 0.75 * 0.5) / 0.25  # Beta(0.5, 0.5)
    assert abs(float(noise.mean()) - 0.5) < 0.02
    assert abs(float(noise.var()) - 1 / 8) < 0.01


def test_search_lowers_regret_where_the_model_is_true() -> None:
    """A hundred states of a random world, each a root: better actions than by the noisy values alone."""
    draw = torch.Generator().manual_seed(0)
    table = random_table(states=100, actions=4, seed=1)
    table.discount = 0.9 * (table.discount > 0)
    true = torch.zeros(100)
    for _ in range(200):
        true = (table.reward + table.discount * true[table.next]).amax(1)
    q = table.reward + table.discount * true[table.next]
    table.prior = q + torch.randn(q.shape, generator=draw)
    start = torch.arange(100)

    def regret(simulations: int) -> float:
        found = UcbQ(simulations=simulations).plan(
            table.simulator(), start, rng=np.random.default_rng(0), explore=False
        )
        return float((true - q[start, found.action]).mean())

    assert regret(10) < 0.9 * regret(0)
    assert regret(50) < 0.7 * regret(0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Puct(simulations=-1),
        lambda: Puct(simulations=10**12),
        lambda: Puct(c1=float("inf")),
        lambda: Puct(temperature=float("nan")),
        lambda: Puct(c2=0.0),
        lambda: Puct(dirichlet_alpha=0.0),
        lambda: Puct(dirichlet_fraction=1.5),
        lambda: Puct(temperature=-1.0),
        lambda: Gumbel(c_visit=-1.0),
        lambda: Gumbel(c_scale=float("inf")),
        lambda: Gumbel(max_considered=0),
        lambda: Gumbel(min_range=0.0),
        lambda: Gumbel(unimix=1.5),
        lambda: Puct(unimix=-0.1),
        lambda: Sampled(unimix=0.1),
        lambda: Gumbel(interior="puct"),  # pyright: ignore[reportArgumentType]
        lambda: UcbQ(epsilon=2.0),
        lambda: Regularized(c=0.0),
        lambda: Regularized(simulations=1001),
        lambda: Sampled(c1=float("inf")),
        lambda: PuctRule(c1=1.25, c2=0.0, scaling="tree", unvisited="minimum", min_range=1e-8),
        lambda: GumbelRule(c_visit=50.0, c_scale=float("nan"), min_range=1e-8),
        lambda: Gumbel(interior=UcbRule(c=0.25, min_range=1e-8)),
        lambda: Gumbel(interior=RegularizedRule(c=1.25, min_range=1e-8, sampled=True)),
    ],
)
def test_an_option_that_can_not_work_is_refused(make) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()


def test_more_considered_actions_than_actions_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_considered=5 of 4 actions"):
        Gumbel(max_considered=5).plan(random_table().simulator(), states(3), rng=np.random.default_rng(0))
