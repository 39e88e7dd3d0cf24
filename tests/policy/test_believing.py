from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from worldmodels.core.protocols import Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.recurrence import Recurrence
from worldmodels.model.rssm import RSSM
from worldmodels.model.unroll import track
from worldmodels.nn.action import ActionHead
from worldmodels.nn.decoder import Decoder
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import BinaryHead, TwoHotHead
from worldmodels.policy.believing import Believing

OBS = {"vector": ArraySpec((3,), "float32")}
CHOICES = EnvSpec("choices", OBS, 4)
NUMBERS = EnvSpec("numbers", OBS, 2, discrete=False)


def policy(spec: EnvSpec = CHOICES) -> Believing:
    torch.manual_seed(0)
    model = RSSM(
        spec,
        partial(Encoder, units=8),
        partial(Recurrence, deter=8, stoch=2, classes=4, hidden=8, gru="dv2"),
        partial(Decoder, units=8),
        partial(TwoHotHead, units=8, bins=11, limit=3.0),
        partial(BinaryHead, units=8),
    )
    actor = ActionHead(spec, model.size, units=8, layers=1)
    nn.init.normal_(actor.mlp[-1].weight, std=2.0)  # else it hardly cares what it believes
    return Believing(spec, model, actor)


def looks(width: int = 3, moments: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(moments, width, 3)).astype(np.float32)


def live(agent: Believing, obs: np.ndarray, first: np.ndarray, seed: int = 0) -> tuple[list, list]:
    """Act along observations (T, N, 3): the actions, and the minds after them."""
    memory, rng, actions, minds = agent.initial(obs.shape[1]), Rng(seed), [], []
    for frame, opening in zip(obs, first, strict=True):
        action, memory, _ = agent.act({"vector": frame}, opening, memory, explore=True, rng=rng)
        actions.append(action)
        minds.append(memory)
    return actions, minds


@pytest.mark.parametrize("spec", [CHOICES, NUMBERS])
def test_actions_come_as_the_world_takes_them(spec):
    agent = policy(spec)
    assert isinstance(agent, Policy)
    actions, _ = live(agent, looks(200), np.zeros((5, 200), bool))
    for action in actions:
        assert (action.dtype, action.shape) == (spec.action.dtype, (200, *spec.action.shape))
    assert spec.discrete or np.abs(actions).max() == 1  # normal draws go beyond, and are cut


@pytest.mark.parametrize("spec", [CHOICES, NUMBERS])
def test_what_is_believed_while_acting_is_what_is_tracked_afterwards(spec):
    """The action that is remembered is the one that was taken: belief t follows from it and the look at t."""
    agent, obs = policy(spec), looks()
    first = np.zeros((5, 3), bool)
    first[0] = first[2, 1] = True
    actions, minds = live(agent, obs, first)
    model = agent.model
    for t in range(1, 5):
        taken = torch.from_numpy(actions[t - 1])
        taken = nn.functional.one_hot(taken, 4).float() if spec.discrete else taken
        taken[torch.from_numpy(first[t])] = 0
        embed = model.encode({"vector": torch.from_numpy(obs[t])})
        before, opening = minds[t - 1][0], torch.from_numpy(first[t])
        found = track(model, taken[:, None], embed[:, None], opening[:, None], before)
        torch.testing.assert_close(minds[t][0].post, found.post[:, 0])
        torch.testing.assert_close(minds[t][0].deter, found.deter[:, 0])


def test_an_episode_that_opens_owes_nothing_to_what_was_lived_before():
    agent, obs = policy(), looks()
    first = np.zeros((5, 3), bool)
    first[0] = first[3] = True
    _, minds = live(agent, obs, first)
    _, fresh = live(agent, obs[3:], first[3:])
    torch.testing.assert_close(minds[3][0].post, fresh[0][0].post)
    first[3] = False
    assert not torch.allclose(live(agent, obs, first)[1][3][0].post, minds[3][0].post)


def test_exploring_draws_and_scoring_takes_the_likeliest():
    agent, look, first = policy(), {"vector": np.repeat(looks(1, 1)[0], 500, 0)}, np.ones(500, bool)
    drawn, (belief, _), _ = agent.act(look, first, agent.initial(500), explore=True, rng=Rng(0))
    best, (same, _), _ = agent.act(look, first, agent.initial(500), explore=False, rng=Rng(0))
    assert torch.equal(belief.stoch, same.stoch)
    log_probs = agent.actor(same.feature).detach()
    np.testing.assert_array_equal(best, log_probs.argmax(-1).numpy())
    expected = log_probs.exp().gather(-1, log_probs.argmax(-1, keepdim=True)).mean()
    assert (drawn == best).mean() == pytest.approx(float(expected), abs=0.08)
    assert not (drawn == best).all()


def test_draws_come_from_the_generator_that_is_handed_in():
    agent, obs, first = policy(), looks(50), np.zeros((5, 50), bool)
    before = torch.get_rng_state()
    one, again, other = (np.stack(live(agent, obs, first, seed)[0]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_memory_that_was_restored_on_the_cpu_follows_its_model_to_another_device():
    """Lightning restores the data before it moves the model. `meta` is a device that every machine has."""
    agent = policy()
    memory = agent.initial(3)
    agent.model.to("meta")
    agent.actor.to("meta")
    belief = agent.believe({"vector": looks()[0]}, np.zeros(3, bool), memory, Rng(0))
    assert belief.feature.device.type == "meta"
