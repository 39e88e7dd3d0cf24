from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.recurrence import Recurrence
from worldmodels.model.rssm import RSSM
from worldmodels.model.unroll import arrivals, seen
from worldmodels.nn.action import ActionHead
from worldmodels.nn.decoder import Decoder
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import BinaryHead, TwoHotHead
from worldmodels.ops.bins import two_hot
from worldmodels.ops.categorical import mixed
from worldmodels.stage.dreamer import Dreamer, Imagination
from worldmodels.stage.world_model import SCALES, WorldModel, learn

SPEC = EnvSpec("tiny", {"grid": ArraySpec((4, 4, 2), "bool", "planes")}, action_size=3)
MODEL = partial(
    RSSM,
    encoder=partial(Encoder, grid="mlp", units=12),
    recurrence=partial(Recurrence, deter=16, stoch=4, classes=5, hidden=12, gru="dv2"),
    decoder=partial(Decoder, grid="mlp", units=12),
    reward=partial(TwoHotHead, units=12, bins=11, limit=3.0),
    cont=partial(BinaryHead, units=12),
)


def make(spec: EnvSpec = SPEC, **options: Any) -> Dreamer:
    torch.manual_seed(0)
    parts = ("model", "actor", "critic")
    options = {"rates": dict.fromkeys(parts, 1e-3), "clips": dict.fromkeys(parts, 100.0), **options}
    return Dreamer(
        spec,
        MODEL,
        partial(ActionHead, units=12, layers=1),
        partial(TwoHotHead, units=12, bins=11, limit=3.0),
        imagination=Imagination(horizon=3, starts=8, discount=0.9, entropy=0.3),
        **options,
    )


def crossing_batch() -> Batch:
    """Window 0 runs over an end at step 2 into the next episode; window 1 is padded after step 3."""
    rng = torch.Generator().manual_seed(1)
    obs = torch.rand(2, 7, 4, 4, 2, generator=rng) > 0.5
    mask = torch.ones(2, 6, dtype=torch.bool)
    first = torch.zeros(2, 7, dtype=torch.bool)
    terminated = torch.zeros(2, 6, dtype=torch.bool)
    first[:, 0] = first[0, 4] = True
    mask[0, 3] = False  # from the final observation (3) to the next first one (4)
    mask[1, 4:] = False  # padding
    terminated[0, 2] = terminated[1, 3] = True
    action = torch.randint(3, (2, 6), generator=rng) * mask
    reward = torch.randn(2, 6, generator=rng) * mask
    return Batch({"grid": obs}, action, reward, terminated, torch.zeros_like(terminated), first, mask)


def test_actions_lead_to_the_observation_after_them_and_none_leads_to_a_first_one():
    batch = crossing_batch()
    led = arrivals(SPEC, batch)
    assert (led[:, 0] == 0).all()
    assert (led[0, 4] == 0).all()
    for b, t in ((0, 0), (0, 2), (0, 5), (1, 1)):
        assert led[b, t + 1].argmax() == batch.action[b, t]
        assert led[b, t + 1].sum() == 1


def test_all_observations_but_padding_are_seen():
    expected = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]], dtype=torch.bool)
    assert torch.equal(seen(crossing_batch()), expected)


def test_the_world_model_loss_equals_a_loop_over_every_moment():
    torch.manual_seed(0)
    model, batch = MODEL(SPEC), crossing_batch()
    nn.init.normal_(model.heads.reward.mlp[-1].weight)
    torch.manual_seed(5)
    learned = learn(model, batch, scales=SCALES, free_bits=1.0)
    beliefs, reached = learned.beliefs, seen(batch)
    sums, counts = dict.fromkeys(("grid", "kl", "reward", "cont"), 0.0), dict.fromkeys(("moment", "step"), 0)
    for b in range(2):
        for t in range(7):
            if not reached[b, t]:
                continue
            counts["moment"] += 1
            belief = beliefs.map(lambda x, b=b, t=t: x[b, t])
            logits = model.decoder(belief.feature)["grid"]
            p = torch.sigmoid(logits)
            truth = batch.obs["grid"][b, t].float()
            sums["grid"] -= (truth * p.log() + (1 - truth) * (1 - p).log()).sum().item()
            kl = sum(
                torch.distributions.kl_divergence(
                    torch.distributions.Categorical(probs=mixed(belief.post[s])),
                    torch.distributions.Categorical(probs=mixed(belief.prior[s])),
                ).item()
                for s in range(4)
            )
            sums["kl"] += 1.0 * max(kl, 1.0) + 0.1 * max(kl, 1.0)
        for t in range(6):
            if not batch.mask[b, t]:
                continue
            counts["step"] += 1
            arrival = beliefs.feature[b, t + 1]
            target = two_hot(batch.reward[b, t], model.heads.reward.bins)
            sums["reward"] -= (target * model.heads.reward(arrival).log_softmax(-1)).sum().item()
            going = torch.sigmoid(model.heads.cont(arrival))
            sums["cont"] -= (going if not batch.terminated[b, t] else 1 - going).log().item()
    for name, count in (("grid", "moment"), ("kl", "moment"), ("reward", "step"), ("cont", "step")):
        assert learned.losses[name].item() == pytest.approx(sums[name] / counts[count], rel=1e-4)


def test_padding_and_the_step_between_episodes_teach_nothing():
    stage, batch = make(), crossing_batch()
    obs = batch.obs["grid"].clone()
    obs[1, 5:] = ~obs[1, 5:]
    reward = torch.where(batch.mask, batch.reward, 100.0)
    other = Batch({"grid": obs}, batch.action, reward, batch.terminated, batch.truncated, batch.first, batch.mask)
    found = []
    for each in (batch, other):
        torch.manual_seed(3)
        found.append(learn(stage.model, each, scales=SCALES, free_bits=1.0).losses)
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name])


def test_each_loss_reaches_only_its_own_parameters():
    stage, batch = make(), crossing_batch()
    nn.init.normal_(stage.critic.mlp[-1].weight)  # else the zero-initialised critic passes no gradient down
    losses, _ = stage.losses(batch)
    owners = {"actor": "actor", "critic": "critic"}
    for name, loss in losses.items():
        stage.zero_grad()
        loss.backward(retain_graph=True)
        touched = {
            part for part, module in stage.named_children() if any(p.grad is not None for p in module.parameters())
        }
        assert touched == {owners.get(name, "model")}, name


def test_dreams_never_start_from_padding_and_weigh_nothing_from_the_end_of_the_world():
    stage, batch = make(), crossing_batch()
    learned = learn(stage.model, batch, scales=SCALES, free_bits=1.0)
    stage.imagination = Imagination(horizon=3, starts=14, discount=0.9)
    beliefs, alive = stage.starts(learned, batch)
    dreamt = stage.dream(beliefs, alive)
    # 14 moments: 2 padded, 2 where the world ended.
    assert alive.sum() == 10
    assert (dreamt.weight[alive == 0] == 0).all()
    assert (dreamt.weight[alive == 1, 0] == 1).all()


def test_dreams_start_from_the_final_observation_of_an_episode_that_was_cut_off():
    stage, batch = make(), crossing_batch()
    cut = Batch(**{**vars(batch), "terminated": torch.zeros_like(batch.terminated), "truncated": batch.terminated})
    stage.imagination = Imagination(horizon=3, starts=14, discount=0.9)
    _, alive = stage.starts(learn(stage.model, cut, scales=SCALES, free_bits=1.0), cut)
    assert alive.sum() == 12  # 14 moments, 2 padded


def test_each_start_keeps_what_is_known_of_its_end():
    """The two windows end after other numbers of steps, so a belief that was taken for another would show."""
    stage, batch = make(), crossing_batch()
    learned = learn(stage.model, batch, scales=SCALES, free_bits=1.0)
    stage.imagination = Imagination(horizon=3, starts=14, discount=0.9)
    beliefs, alive = stage.starts(learned, batch)
    dead = [learned.beliefs.deter[at] for at in ((0, 3), (1, 4), (1, 5), (1, 6))]
    for deter, going in zip(beliefs.deter, alive, strict=True):
        assert going == (not any(torch.equal(deter, each) for each in dead))


def test_a_truncated_step_is_one_from_which_the_world_goes_on():
    stage, batch = make(), crossing_batch()
    cut = Batch(**{**vars(batch), "terminated": torch.zeros_like(batch.terminated), "truncated": batch.terminated})
    quiet = Batch(**{**vars(cut), "truncated": torch.zeros_like(batch.terminated)})
    found = []
    for each in (cut, quiet, batch):
        torch.manual_seed(3)
        found.append(learn(stage.model, each, scales=SCALES, free_bits=1.0).losses["cont"])
    assert found[0] == found[1] != found[2]


def test_returns_are_scaled_by_the_range_of_this_and_earlier_dreams(monkeypatch):
    stage, batch = make(), crossing_batch()
    stage.normaliser.rate = 0.5
    returns = torch.linspace(0, 100, 24).view(8, 3)
    original = stage.dream
    monkeypatch.setattr(stage, "dream", lambda *start: replace(original(*start), returns=returns))
    watched = [float(stage.losses(batch)[1]["critic/return_range"]) for _ in range(2)]
    assert watched == pytest.approx([45.0, 67.5])  # from 0, halfway to 90, and halfway again


def test_nothing_that_learns_goes_without_a_gradient_in_half_precision():
    """Weights that autocast first meets without gradients, in the dream, must still learn afterwards."""
    stage, batch = make(), crossing_batch()
    for head in (stage.critic, stage.model.heads.reward):
        nn.init.normal_(head.mlp[-1].weight)
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = stage.losses(batch)
    torch.stack(list(losses.values())).sum().backward()
    for group in stage.groups():
        for name, parameter in group.params.named_parameters():
            assert parameter.grad is not None, (group.name, name)
            assert parameter.grad.isfinite().all(), (group.name, name)


def test_returns_and_weights_of_a_dream_equal_a_loop():
    stage, batch = make(), crossing_batch()
    for head in (stage.critic, stage.model.heads.reward):
        nn.init.normal_(head.mlp[-1].weight)
    learned = learn(stage.model, batch, scales=SCALES, free_bits=1.0)
    dreamt = stage.dream(*stage.starts(learned, batch))
    reward, cont = stage.model.reward(dreamt.feature), stage.model.cont(dreamt.feature)
    value = stage.critic.mean(stage.critic(dreamt.feature))
    for n in range(8):
        target, weight = value[n, 3], dreamt.weight[n, 0]
        for t in reversed(range(3)):
            bootstrap = 0.05 * value[n, t + 1] + 0.95 * target
            target = reward[n, t + 1] + 0.9 * cont[n, t + 1] * bootstrap
            torch.testing.assert_close(dreamt.returns[n, t], target, rtol=1e-4, atol=1e-4)
        for t in range(1, 3):
            weight = weight * 0.9 * cont[n, t]
            torch.testing.assert_close(dreamt.weight[n, t], weight)


def test_actor_and_critic_losses_equal_a_loop():
    stage, batch = make(), crossing_batch()
    for head in (stage.critic, stage.model.heads.reward, stage.slow_critic.module):
        nn.init.normal_(head.mlp[-1].weight)
    dreamt = stage.dream(*stage.starts(learn(stage.model, batch, scales=SCALES, free_bits=1.0), batch))
    stage.normaliser.update(dreamt.returns)
    scale = stage.normaliser.scale
    actor, critic = 0.0, 0.0
    for n in range(8):
        for t in range(3):
            feature, chosen = dreamt.feature[n, t], dreamt.action[n, t].argmax()
            logits = stage.actor.mlp(feature)
            probs = 0.99 * F.softmax(logits, -1) + 0.01 / 3
            entropy = -(probs * probs.log()).sum()
            advantage = (dreamt.returns[n, t] - dreamt.value[n, t]) / scale
            actor -= dreamt.weight[n, t] * (probs[chosen].log() * advantage + 0.3 * entropy)
            opinion, bins = stage.critic(feature).log_softmax(-1), stage.critic.bins
            calm = stage.critic.mean(stage.slow_critic(feature))
            for goal in (dreamt.returns[n, t], calm):
                critic -= dreamt.weight[n, t] * (two_hot(goal, bins) * opinion).sum()
    torch.testing.assert_close(stage.actor_loss(dreamt)[0], actor / 24, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stage.critic_loss(dreamt), critic / 24, rtol=1e-4, atol=1e-5)


def test_the_slow_critic_follows_after_each_update():
    stage = make()
    before = [p.clone() for p in stage.slow_critic.module.parameters()]
    with torch.no_grad():
        for p in stage.critic.parameters():
            p.add_(1.0)
    stage.after_update()
    for old, new in zip(before, stage.slow_critic.module.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.02)


def test_one_optimizer_with_three_groups_equals_three_optimizers():
    """Each loss alone, into an Adam of its own, with its own rate, clip and eps: the same weights after 20 updates."""
    rates, clips = {"model": 3e-3, "actor": 1e-3, "critic": 2e-3}, {"model": 5.0, "actor": 0.02, "critic": 0.5}
    together, apart = (make(rates=rates, clips=clips, eps=1e-5) for _ in range(2))
    batch, one = crossing_batch(), together.configure_optimizers()
    three = {name: torch.optim.Adam(getattr(apart, name).parameters(), rates[name], eps=1e-5) for name in rates}
    for update in range(20):
        torch.manual_seed(update)
        one.zero_grad()
        together.training_step(batch, 0)["loss"].backward()
        together.configure_gradient_clipping(one)
        one.step()
        together.after_update()
        torch.manual_seed(update)
        losses, _ = apart.losses(batch)
        for name, optimizer in three.items():
            mine = [loss for key, loss in losses.items() if (key if key in rates else "model") == name]
            optimizer.zero_grad()
            torch.stack(mine).sum().backward()
            nn.utils.clip_grad_norm_(getattr(apart, name).parameters(), clips[name])
            optimizer.step()
        apart.after_update()
    start = dict(make().named_parameters())
    for (name, ours), theirs in zip(together.named_parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
        assert not torch.equal(ours, start[name]), name


def test_each_scale_multiplies_its_own_loss():
    stage, batch = make(), crossing_batch()
    nn.init.normal_(stage.model.heads.reward.mlp[-1].weight)
    plain = {"obs": 1.0, "reward": 1.0, "cont": 1.0, "dyn": 1.0, "rep": 0.1}

    def losses(**scales: float) -> dict[str, float]:
        torch.manual_seed(3)
        found = learn(stage.model, batch, scales={**plain, **scales}, free_bits=1.0).losses
        return {name: loss.item() for name, loss in found.items()}

    once = losses()
    for scale, name in (("obs", "grid"), ("reward", "reward"), ("cont", "cont")):
        assert losses(**{scale: 3.0}) == pytest.approx({**once, name: 3 * once[name]})
    # Both halves have the same value; only their gradients differ.
    assert losses(dyn=0.5, rep=0.25)["kl"] == pytest.approx(once["kl"] * 0.75 / 1.1)


def test_continuous_actions_train_too():
    spec = EnvSpec("c", SPEC.obs, action_size=2, discrete=False)
    stage, batch = make(spec), crossing_batch()
    action = torch.rand(2, 6, 2) * 2 - 1
    batch = Batch(batch.obs, action, batch.reward, batch.terminated, batch.truncated, batch.first, batch.mask)
    losses, _ = stage.losses(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_loss_without_a_scale_is_an_error():
    with pytest.raises(ConfigError, match="name each loss once"):
        WorldModel(SPEC, MODEL, scales={"obs": 1.0})
