from __future__ import annotations

import numpy as np
import pytest
import torch

from worldmodels.core.protocols import Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.policy.actor import ActorCritic, ActorPolicy, Choices, Numbers

ARRAYS = {"vector": ArraySpec((3,), "float32")}
CHOICES = EnvSpec("choices", ARRAYS, 4)
NUMBERS = EnvSpec("numbers", ARRAYS, 2, discrete=False)


def network(spec: EnvSpec, **options) -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(spec, encoder={"units": 16}, units=16, **options)


def look(width: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    obs = np.random.default_rng(0).normal(size=(width, 3)).astype(np.float32)
    return {"vector": obs}, np.zeros(width, bool)


@pytest.mark.parametrize("spec", [CHOICES, NUMBERS])
def test_actions_and_extras_come_as_declared(spec):
    policy = ActorPolicy(network(spec))
    assert isinstance(policy, Policy)
    action, _, extras = policy.act(*look(5), None, explore=True, rng=Rng(0))
    assert (action.dtype, action.shape) == (spec.action.dtype, (5, *spec.action.shape))
    assert {name: (x.dtype.name, x.shape) for name, x in extras.items()} == {
        name: (array.dtype, (5, *array.shape)) for name, array in policy.extras.items()
    }


def test_choices_are_drawn_as_often_as_their_probability_says():
    probs = torch.tensor([0.1, 0.2, 0.7])
    made = Choices(probs.log().expand(20_000, 3))
    counts = torch.bincount(made.sample(Rng(0).torch), minlength=3) / 20_000
    torch.testing.assert_close(counts, probs, atol=0.015, rtol=0)


@pytest.mark.parametrize("kind", ["choices", "numbers"])
def test_probabilities_and_entropies_agree_with_torch(kind):
    logits = torch.randn(7, 3)
    if kind == "choices":
        made, peer = Choices(logits.log_softmax(-1)), torch.distributions.Categorical(logits=logits)
    else:
        log_std = torch.tensor([0.1, -1.0, 0.5])
        made = Numbers(logits, log_std)
        peer = torch.distributions.Independent(torch.distributions.Normal(logits, log_std.exp()), 1)
    raw = peer.sample()
    torch.testing.assert_close(made.log_prob(raw), peer.log_prob(raw))
    torch.testing.assert_close(made.entropy(), peer.entropy())


def test_continuous_actions_are_the_tanh_of_the_raw_draw_which_is_normal():
    net = network(NUMBERS)
    policy = ActorPolicy(net)
    obs = {"vector": np.zeros((20_000, 3), np.float32)}
    action, _, extras = policy.act(obs, np.zeros(20_000, bool), None, explore=True, rng=Rng(0))
    np.testing.assert_allclose(action, np.tanh(extras["raw"]), rtol=1e-6)
    np.testing.assert_allclose(extras["raw"].std(0), net.log_std.detach().exp().numpy(), rtol=0.03)


@pytest.mark.parametrize("spec", [CHOICES, NUMBERS])
def test_without_exploration_the_likeliest_action_is_taken_and_nothing_is_drawn(spec):
    policy, rng = ActorPolicy(network(spec)), Rng(0)
    obs, first = look(6)
    first_time, _, _ = policy.act(obs, first, None, explore=False, rng=rng)
    made, _ = policy.net({"vector": torch.from_numpy(obs["vector"])})
    np.testing.assert_array_equal(first_time, made.action(made.mode()).detach().numpy())
    assert torch.equal(rng.torch.get_state(), Rng(0).torch.get_state())


def test_the_policy_follows_the_weights_of_its_stage():
    net = network(CHOICES)
    policy = ActorPolicy(net)
    with torch.no_grad():
        net.actor[-1].bias.copy_(torch.tensor([0.0, 0.0, 50.0, 0.0]))
    action, _, _ = policy.act(*look(50), None, explore=True, rng=Rng(0))
    assert (action == 2).all()


@pytest.mark.parametrize("shared", [True, False])
def test_value_alone_equals_value_beside_the_actor(shared):
    net = network(CHOICES, shared=shared)
    obs = {"vector": torch.randn(2, 3, 3)}
    torch.testing.assert_close(net.value(obs), net(obs)[1])


def test_separate_trunks_keep_the_critic_from_moving_the_actor():
    net = network(CHOICES, shared=False)
    net.value({"vector": torch.randn(4, 3)}).sum().backward()
    assert all(p.grad is None for p in net.trunk.parameters())


def test_the_first_policy_is_nearly_uniform():
    made, _ = network(CHOICES)({"vector": torch.randn(100, 3) * 5})
    assert float((made.log_probs.detach().exp() - 0.25).abs().max()) < 0.05
