"""A search among sampled actions: MuZero's, where each node has candidates of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.rng import Rng
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config, make
from worldmodels.planner.puct import Puct
from worldmodels.planner.sampled import Sampled, candidates_of
from worldmodels.planner.simulator import Simulator, from_candidates, from_model
from worldmodels.policy.planning import Planning, Trained
from worldmodels.stage.stage import demand_kind


@dataclass(frozen=True)
class Spot(Belief):
    at: Float[Tensor, "*batch 2"]


class Plane:
    """A step of at most 1 a move; the nearer to the origin, the better."""

    def initial(self, batch: int) -> Spot:
        return Spot(torch.zeros(batch, 2))

    def encode(self, obs: Mapping[str, Tensor]) -> Tensor:
        return obs["at"]

    def observe(self, belief: Spot, action: Tensor, embed: Tensor, *, rng: torch.Generator | None = None) -> Spot:
        return Spot(embed)

    def decode(self, belief: Spot) -> Prediction:
        return Prediction()

    def imagine(self, belief: Spot, action: Tensor, *, rng: torch.Generator | None = None) -> Spot:
        return Spot(belief.at + action)


HEADS = {
    "reward": lambda belief: -belief.at.norm(dim=-1),
    "value": lambda belief: -4 * belief.at.norm(dim=-1),
    "prior": lambda belief: torch.zeros(len(belief.at), 3),
}
START = torch.tensor([[2.0, 0.0], [0.0, -2.0], [1.5, 1.5], [-0.5, 0.2]])


def simulator(seed: int = 0, count: int = 12) -> Simulator:
    """Candidates are the policy's mode, which stays, and others anywhere."""
    rng = torch.Generator().manual_seed(seed)

    def draw(belief: Spot) -> Tensor:
        others = 2 * torch.rand(len(belief.at), count - 1, 2, generator=rng) - 1
        return torch.cat([torch.zeros(len(belief.at), 1, 2), others], 1)

    return from_candidates(Plane(), HEADS, draw, discount=0.8, rng=rng)


def plan(planner: Sampled, seed: int = 0, **options: bool):
    return planner.plan(simulator(seed), Spot(START), rng=np.random.default_rng(0), **options)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_it_finds_better_than_what_the_policy_would_do(backend: str) -> None:
    found = plan(Sampled(simulations=60, backend=backend), explore=False)
    assert found.action.shape == (4, 2)
    before, after = START.norm(dim=-1), (START + found.action).norm(dim=-1)
    assert (after <= before).all()
    assert (after[:3] < before[:3] - 0.25).all()  # the last is nearly there
    one_step = (START[:, None] + candidates_of(found)).norm(dim=-1)
    assert (after <= one_step.quantile(0.35, dim=1)).all()
    assert (found.value[:3] > HEADS["value"](Spot(START[:3]))).all()


def test_what_is_done_is_the_candidate_that_the_search_chose() -> None:
    planner = Sampled(simulations=30)
    found = plan(planner, explore=False)
    inner = Puct.plan(planner, simulator(), Spot(START), rng=np.random.default_rng(0), explore=False)
    assert torch.equal(found.visits, inner.visits)
    assert torch.equal(found.action, candidates_of(inner)[torch.arange(4), inner.action])
    assert torch.equal(inner.action, inner.visits.argmax(1))


def test_without_simulations_it_is_the_policys_mode() -> None:
    assert torch.equal(plan(Sampled(simulations=0), explore=False).action, torch.zeros(4, 2))


def test_every_node_has_candidates_of_its_own() -> None:
    tree = plan(Sampled(simulations=10)).tree
    first, second = (tree.latents.read(torch.full((4,), node)).action for node in (0, 1))
    assert not torch.equal(first[:, 1:], second[:, 1:])


def test_the_same_draws_give_the_same_plan() -> None:
    one, same, other = (plan(Sampled(simulations=20), seed) for seed in (0, 0, 1))
    assert torch.equal(one.action, same.action)
    assert not torch.equal(one.action, other.action)


def test_numbered_actions_and_continuous_ones_have_searches_of_their_own() -> None:
    whole = from_model(Plane(), HEADS, actions=3, discount=0.8)
    with pytest.raises(SpecError, match="from_candidates"):
        candidates_of(Puct(simulations=0).plan(whole, Spot(START), rng=np.random.default_rng(0)))
    arm = make(config("train", ["env=dummy", "env.continuous=true"]).env).spec()
    with pytest.raises(ConfigError, match="planner=sampled"):
        demand_kind(arm, None)
    with pytest.raises(ConfigError, match="planner=gumbel"):
        demand_kind(make(config("train", ["env=dummy"]).env).spec(), 20)


def test_a_dreamer_with_continuous_actions_is_searched_in_its_latents() -> None:
    small = ["model.recurrence.deter=16", "model.recurrence.hidden=16", "model.recurrence.blocks=2"]
    cfg = config("train", ["env=dummy", "env.continuous=true", *small])
    recipe = make(cfg.env)
    stage = build_stage(cfg, recipe.spec())
    actor = stage.policy()
    trained = Trained(actor, stage.simulator)
    first = np.ones(3, bool)
    obs = {name: array.zeros(3) for name, array in recipe.spec().obs.items()}

    def act(planner: Sampled) -> np.ndarray:
        policy = Planning(trained, planner)
        action, (_, chosen), _ = policy.act(obs, first, policy.initial(3), explore=False, rng=Rng(0, "test"))
        assert np.array_equal(chosen.numpy(), action)
        return action

    searched = act(Sampled(simulations=12, samples=5))
    assert searched.shape == (3, 1)
    assert (np.abs(searched) <= 1).all()
    acted, _, _ = actor.act(obs, first, actor.initial(3), explore=False, rng=Rng(0, "test"))
    np.testing.assert_allclose(act(Sampled(simulations=0, samples=5)), acted, atol=1e-6)
