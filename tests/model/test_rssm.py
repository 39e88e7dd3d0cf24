from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.recurrence import Recurrence
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.model.unroll import follow, track
from worldmodels.nn.decoder import Decoder
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import BinaryHead, TwoHotHead
from worldmodels.nn.late import late
from worldmodels.ops.categorical import draw, mixed

SPEC = EnvSpec("tiny", {"grid": ArraySpec((5, 5, 3), "bool", "planes")}, action_size=4)


def make(spec: EnvSpec = SPEC, style: Mapping[str, str] | None = None, **sizes: object) -> RSSM:
    torch.manual_seed(0)
    sizes = {"deter": 16, "stoch": 4, "classes": 5, "hidden": 12, "gru": "dv2", "blocks": 2, **sizes}
    return RSSM(
        spec,
        partial(Encoder, grid="mlp", units=12),
        partial(Recurrence, **sizes),
        partial(Decoder, grid="mlp", units=12, depth=4),
        partial(TwoHotHead, units=12, bins=11, limit=3.0),
        partial(BinaryHead, units=12),
        **(style or {}),
    )


def window(batch: int = 3, moments: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    obs = torch.rand(batch, moments, 5, 5, 3, generator=rng) > 0.5
    action = F.one_hot(torch.randint(4, (batch, moments), generator=rng), 4).float()
    first = torch.zeros(batch, moments, dtype=torch.bool)
    first[1, 3] = first[:, 0] = True
    return obs, action, first


def _total(beliefs: RSSMBelief) -> torch.Tensor:
    return sum(((x - 0.3) ** 2).sum() for x in vars(beliefs).values())


@pytest.mark.parametrize("classes", [5, 0])
@pytest.mark.parametrize("gru", ["torch", "layernorm", "dv2", "block"])
def test_tracking_all_moments_at_once_equals_one_after_the_other(gru, classes, monkeypatch):
    monkeypatch.setattr("worldmodels.model.rssm.late", partial(late, smallest=1))
    model = make(gru=gru, classes=classes)
    obs, action, first = window()
    embed = model.encode({"grid": obs})
    fast = model.track(action, embed, first, rng=torch.Generator().manual_seed(2))
    slow = track(model, action, embed, first, rng=torch.Generator().manual_seed(2))
    for name in ("deter", "stoch", "post", "prior"):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), atol=1e-5, rtol=1e-5)
    weights = list(model.rssm.parameters())
    for grads in zip(*[torch.autograd.grad(_total(x), weights, retain_graph=True) for x in (fast, slow)], strict=True):
        torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-3)


def test_an_episode_that_opens_inside_a_window_owes_nothing_to_what_came_before():
    model = make()
    obs, action, first = window()
    action = action * ~first[..., None]
    whole = model.track(action, model.encode({"grid": obs}), first)
    alone = model.track(action[:, 3:], model.encode({"grid": obs[:, 3:]}), first[:, 3:])
    torch.testing.assert_close(whole.deter[1, 3], alone.deter[1, 0])
    torch.testing.assert_close(whole.post[1, 3], alone.post[1, 0])
    assert not torch.allclose(whole.deter[0, 3], alone.deter[0, 0])


def test_a_window_that_opens_an_episode_forgets_the_belief_that_it_is_given():
    model = make()
    obs, action, first = window()
    first[2, 0] = False
    embed, rng = model.encode({"grid": obs}), torch.Generator()
    before = model.initial(3).map(lambda x: x + 1)
    given, blank = (model.track(action, embed, first, x, rng=rng.manual_seed(0)).deter[:, 0] for x in (before, None))
    torch.testing.assert_close(given[:2], blank[:2])
    assert not torch.allclose(given[2], blank[2])


def test_one_moment_follows_the_equations():
    """Hafner et al. (2024), equation 3, with the projections of latent and action summed."""
    model = make()
    obs, action, first = window()
    belief = model.track(action[:, :1], model.encode({"grid": obs[:, :1]}), first[:, :1]).map(lambda x: x[:, -1])
    parts, embed = model.rssm, model.encode({"grid": obs[:, 1]})
    move = parts.transition
    heard = F.linear(belief.stoch.flatten(1), move.stoch_in.weight, move.stoch_in.bias)
    heard = heard + action[:, 1] @ move.action_in.weight.T
    deter = move.cell(F.silu(move.norm(heard)), belief.deter)
    prior = parts.prior_out(deter).view(3, 4, 5)
    looked = F.linear(deter, parts.deter_out.weight, parts.deter_out.bias) + embed @ parts.embed_out.weight.T
    post = parts.post_out(F.silu(parts.out_norm(looked))).view(3, 4, 5)
    seen = model.observe(belief, action[:, 1], embed, rng=torch.Generator().manual_seed(7))
    blind = model.imagine(belief, action[:, 1], rng=torch.Generator().manual_seed(7))
    for found, logits in ((seen, post), (blind, prior)):
        torch.testing.assert_close(found.deter, deter)
        torch.testing.assert_close(found.prior, prior)
        torch.testing.assert_close(found.post, logits)
        expected = draw(mixed(logits, 0.01), torch.Generator().manual_seed(7))
        assert torch.equal(found.stoch.detach(), expected)
        torch.testing.assert_close(found.feature, torch.cat([deter, expected.flatten(1)], -1))


def test_latents_are_drawn_from_the_mixture_and_told_by_it():
    latents = make(unimix=0.5).rssm.latents
    logits = torch.tensor([50.0, 0, 0, 0, 0]).expand(5000, 4, 5)
    share = latents.draw(logits, torch.Generator().manual_seed(0)).mean((0, 1))
    torch.testing.assert_close(share, torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1]), atol=0.01, rtol=0)
    torch.testing.assert_close(latents.distribution(logits[0]).exp()[0], torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1]))


def test_closed_eyes_do_not_see():
    model = make()
    obs, action, first = window()
    belief = model.track(action[:, :2], model.encode({"grid": obs[:, :2]}), first[:, :2]).map(lambda x: x[:, -1])
    imagined = follow(model, belief, action[:, 2:], rng=torch.Generator().manual_seed(3))
    torch.testing.assert_close(imagined.post, imagined.prior)
    assert imagined.deter.shape == (3, 4, 16)
    shape = imagined.stoch.sum(-1)
    torch.testing.assert_close(shape, torch.ones_like(shape))


def test_actions_beyond_the_range_of_the_world_count_as_its_ends():
    """A dream draws them from a normal; the world, and so the recording, cuts them to [-1, 1]."""
    model = make(EnvSpec("c", SPEC.obs, action_size=4, discrete=False))
    obs, _, first = window()
    far = torch.randn(3, 6, 4) * 3
    embed, found = model.encode({"grid": obs}), []
    for action in (far, far.clamp(-1, 1)):
        beliefs = model.track(action, embed, first, rng=torch.Generator().manual_seed(0))
        start = beliefs.map(lambda x: x[:, 0])
        found.append((beliefs.deter, model.imagine(start, action[:, 1]).deter))
        found[-1] += (model.observe(start, action[:, 1], embed[:, 1]).deter,)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_a_look_moves_the_posterior_but_not_the_prior():
    model = make()
    obs, action, first = window()
    other = obs.clone()
    other[:, -1] = ~other[:, -1]
    seen, flipped = (
        model.track(action, model.encode({"grid": x}), first, rng=torch.Generator().manual_seed(0))
        for x in (obs, other)
    )
    torch.testing.assert_close(seen.prior, flipped.prior)
    assert not torch.allclose(seen.post[:, -1], flipped.post[:, -1])


def test_gradients_of_a_late_prediction_reach_the_first_look_through_samples():
    model = make()
    obs, action, first = window()
    first[1, 3] = False
    embed = model.encode({"grid": obs}).detach().requires_grad_()
    beliefs = model.track(action, embed, first)
    for end in (model.heads.cont(beliefs.feature[:, -1]), beliefs.prior[:, -1]):
        (grad,) = torch.autograd.grad(end.sum(), embed, retain_graph=True)
        assert (grad[:, 0].abs().sum(-1) > 0).all()


def test_before_learning_anything_rewards_are_exactly_zero():
    model = make()
    obs, action, first = window()
    prediction = model.decode(model.track(action, model.encode({"grid": obs}), first))
    assert (prediction.reward == 0).all()
    assert prediction.obs["grid"].shape == obs.shape
    assert ((prediction.cont > 0) & (prediction.cont < 1)).all()


@pytest.mark.parametrize("contdisc", [1.0, 0.9])
def test_going_on_is_told_and_scored_as_a_probability_whatever_discount_the_head_learned(contdisc):
    """A head that says contdisc times 0.75, and one that overshoots."""
    model, (obs, action, first) = make(), window()
    model.heads.contdisc = contdisc
    beliefs = model.track(action, model.encode({"grid": obs}), first)
    terminated = torch.zeros(first.shape, dtype=torch.bool)
    terminated[0, 2] = True
    nn.init.zeros_(model.heads.cont.mlp[-1].weight)
    nn.init.constant_(model.heads.cont.mlp[-1].bias, torch.logit(torch.tensor(0.75 * contdisc)).item())
    torch.testing.assert_close(model.decode(beliefs).cont, torch.full(first.shape, 0.75))
    torch.testing.assert_close(model.discounted_cont(beliefs.feature), torch.full(first.shape, 0.75 * contdisc))
    found = model.nll(beliefs, {"grid": obs}, torch.zeros(first.shape), terminated)["cont"]
    torch.testing.assert_close(found, -torch.where(terminated, 0.25, 0.75).log())
    nn.init.constant_(model.heads.cont.mlp[-1].bias, 10.0)
    assert (model.cont(beliefs.feature) <= 1).all()
    found = model.nll(beliefs, {"grid": obs}, torch.zeros(first.shape), terminated)["cont"]
    assert found[~terminated].max() < 1e-4
    assert 9 < found[terminated].item() < 14


@pytest.mark.parametrize(
    ("array", "frames"),
    [
        (ArraySpec((16, 16, 3), "uint8", "image"), torch.randint(256, (2, 3, 16, 16, 3), dtype=torch.uint8)),
        (ArraySpec((7, 7, 2), "uint8", "symbols", (5, 3)), torch.randint(3, (2, 3, 7, 7, 2), dtype=torch.uint8)),
        (ArraySpec((4,), "float32"), torch.randn(2, 3, 4) * 100),
        (ArraySpec((10, 10, 4), "bool", "planes"), torch.rand(2, 3, 10, 10, 4) > 0.5),
    ],
)
def test_every_kind_of_observation_is_learned(array, frames):
    """A few steps on one batch must reduce the loss of each kind: shapes, layouts and targets all fit together."""
    model = make(EnvSpec("any", {"x": array}, 4))
    action, first = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    history = []
    for _ in range(40):
        feature = model.track(action, model.encode({"x": frames}), first).feature
        loss = model.decoder.losses(model.decoder(feature), {"x": frames})["x"]
        assert loss.shape == (2, 3)
        history.append(loss.mean().item())
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    assert history[-1] < 0.9 * history[0]
    means = model.decoder.means(model.decoder(feature))["x"]
    assert means.shape == frames.shape
