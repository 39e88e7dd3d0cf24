from __future__ import annotations

from dataclasses import replace

import dreams
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.model.recall import keep
from worldmodels.nn.heads import NormalHead
from worldmodels.ops.bins import two_hot
from worldmodels.stage.behaviour import (
    Imagination,
    ReplayCritic,
    SlowCritic,
    actor_loss,
    choose_starts,
    critic_loss,
    imagine,
    replay_loss,
)
from worldmodels.stage.model_loss import ModelLoss


def dream(stage, plan, *, fading=None, slow_target=False):
    starts = choose_starts(stage.look(dreams.batch(stage.spec)), plan.starts)
    return imagine(stage.mind, starts, plan, fading=fading or plan.discount, slow_target=slow_target)


def test_dreams_never_start_from_padding_and_weigh_nothing_from_the_end_of_the_world():
    stage, plan = dreams.dreamer(), replace(dreams.PLAN, starts=14)
    starts = choose_starts(stage.look(dreams.batch()), 14)
    dreamt = imagine(stage.mind, starts, plan, fading=0.9, slow_target=False)
    # 14 moments: 2 padded, 2 where the world ended.
    assert starts.alive.sum() == 10
    assert (dreamt.weight[starts.alive == 0] == 0).all()
    assert (dreamt.weight[starts.alive == 1, 0] == 1).all()


def test_dreams_start_from_the_final_observation_of_an_episode_that_was_cut_off():
    stage, batch = dreams.dreamer(), dreams.batch()
    cut = replace(batch, terminated=torch.zeros_like(batch.terminated), truncated=batch.terminated)
    assert choose_starts(stage.look(cut), "all").alive.sum() == 12  # 14 moments, 2 padded


@pytest.mark.parametrize("count", [14, "all"])
def test_each_start_keeps_what_is_known_of_its_end_and_of_its_place(count):
    """The two windows end after other numbers of steps, so a belief that was taken for another would show."""
    learned = dreams.dreamer().look(dreams.batch())
    starts = choose_starts(learned, count)
    flat = learned.beliefs.deter.flatten(0, 1)
    dead = [flat[7 * b + t] for b, t in ((0, 3), (1, 4), (1, 5), (1, 6))]
    for n, (deter, going) in enumerate(zip(starts.belief.deter, starts.alive, strict=True)):
        assert torch.equal(deter, flat[n if starts.place is None else starts.place[n]])
        assert going == (not any(torch.equal(deter, each) for each in dead))


def test_dreams_start_from_every_draw_of_the_latents():
    stage = dreams.dreamer(loss=ModelLoss(iwae_samples=3))
    assert len(choose_starts(stage.look(dreams.batch()), "all").alive) == 3 * 14


@pytest.mark.parametrize("discount_weight", [True, False])
@pytest.mark.parametrize("contdisc", [None, 0.9])
@pytest.mark.parametrize("slow_target", [True, False])
def test_returns_and_weights_of_a_dream_equal_a_loop(slow_target, contdisc, discount_weight):
    """Without contdisc the discount multiplies what the head says; with it, the head has learned both in one.

    It is not clamped then: a head that overshoots the discount is believed, as in DreamerV3.
    """
    stage = dreams.dreamer(loss=ModelLoss(contdisc=contdisc))
    plan = replace(dreams.PLAN, discount_weight=discount_weight)
    nn.init.normal_(stage.model.heads.cont.mlp[-1].weight, std=3.0)
    fading = plan.discount / (contdisc or 1.0)
    dreamt = dream(stage, plan, fading=fading, slow_target=slow_target)
    reward, cont = stage.model.reward(dreamt.feature), torch.sigmoid(stage.model.heads.cont(dreamt.feature))
    assert cont.max() > 0.9 > cont.min()
    value = stage.critic.mean((stage.slow_critic if slow_target else stage.critic)(dreamt.feature))
    torch.testing.assert_close(dreamt.value, value)
    for n in range(8):
        target, weight = value[n, 3], dreamt.weight[n, 0]
        for t in reversed(range(3)):
            bootstrap = 0.05 * value[n, t + 1] + 0.95 * target
            target = reward[n, t + 1] + fading * cont[n, t + 1] * bootstrap
            torch.testing.assert_close(dreamt.returns[n, t], target, rtol=1e-4, atol=1e-4)
        for t in range(1, 3):
            weight = weight * (fading if discount_weight else 1 / (contdisc or 1.0)) * cont[n, t]
            torch.testing.assert_close(dreamt.weight[n, t], weight)


def test_where_the_dreamt_world_ends_nothing_is_bootstrapped():
    stage = dreams.dreamer()
    nn.init.zeros_(stage.model.heads.cont.mlp[-1].weight)
    nn.init.constant_(stage.model.heads.cont.mlp[-1].bias, -1e4)  # every arrival is the end
    dreamt = dream(stage, dreams.PLAN)
    torch.testing.assert_close(dreamt.returns, stage.model.reward(dreamt.feature[:, 1:]))
    assert (dreamt.weight[:, 1:] == 0).all()


def test_losses_of_actor_and_critic_equal_a_loop():
    stage = dreams.dreamer()
    dreamt = dream(stage, dreams.PLAN)
    stage.normaliser.update(dreamt.returns * 1000)
    scale = stage.normaliser.scale
    assert scale > 1
    actor, critic = 0.0, 0.0
    for n in range(8):
        for t in range(3):
            feature, chosen = dreamt.feature[n, t], dreamt.action[n, t].argmax()
            probs = 0.99 * F.softmax(stage.actor.mlp(feature), -1) + 0.01 / 3
            entropy = -(probs * probs.log()).sum()
            advantage = (dreamt.returns[n, t] - dreamt.value[n, t]) / scale
            actor -= dreamt.weight[n, t] * (probs[chosen].log() * advantage + 0.3 * entropy)
            opinion, bins = stage.critic(feature).log_softmax(-1), stage.critic.bins
            calm = stage.critic.mean(stage.slow_critic(feature))
            for goal, share in ((dreamt.returns[n, t], 1.0), (calm, 0.5)):
                critic -= share * dreamt.weight[n, t] * (two_hot(goal, bins) * opinion).sum()
    found = actor_loss(stage.actor, dreamt, dreams.PLAN, scale)[0]
    torch.testing.assert_close(found, actor / 24, rtol=1e-4, atol=1e-5)
    found = critic_loss(stage.mind, dreamt, SlowCritic(reg=0.5))
    torch.testing.assert_close(found, critic / 24, rtol=1e-4, atol=1e-5)


def pydreamer(stage, dreamt, plan):
    """Its losses as its code has them: advantages summed backwards, values of the target, weights without discount."""
    with torch.no_grad():
        reward, ends = stage.model.reward(dreamt.feature)[:, 1:], 1 - stage.model.cont(dreamt.feature)
        slow = stage.critic.mean(stage.slow_critic(dreamt.feature))
    value = stage.critic.mean(stage.critic(dreamt.feature))
    actor = critic = 0.0
    for n in range(len(slow)):
        advantage, running = [0.0] * plan.horizon, 0.0
        for t in reversed(range(plan.horizon)):
            going = plan.discount * (1 - ends[n, t + 1])
            running = reward[n, t] + going * slow[n, t + 1] - slow[n, t] + plan.lam * going * running
            advantage[t] = running
        weight = dreamt.weight[n, 0]  # pydreamer asks the model whether the start is an end; we know
        for t in range(plan.horizon):
            weight = weight * (1 - ends[n, t]) if t else weight
            log_probs = stage.actor(dreamt.feature[n, t])
            entropy = -(log_probs.exp() * log_probs).sum()
            actor -= weight * ((log_probs * dreamt.action[n, t]).sum() * advantage[t] + plan.entropy * entropy)
            critic += weight * 0.5 * (advantage[t] + slow[n, t] - value[n, t]) ** 2
    return actor / slow.numel() * slow.shape[1] / plan.horizon, critic / slow.numel() * slow.shape[1] / plan.horizon


def test_losses_of_pydreamer_equal_a_loop_in_its_own_form():
    stage = dreams.dreamer()
    stage.critic = NormalHead(stage.model.size, units=12, layers=1)
    stage.slow_critic.module = NormalHead(stage.model.size, units=12, layers=1)
    plan = replace(dreams.PLAN, return_norm=False, discount_weight=False)
    dreamt = dream(stage, plan, slow_target=True)
    actor, critic = pydreamer(stage, dreamt, plan)
    torch.testing.assert_close(actor_loss(stage.actor, dreamt, plan, torch.ones(()))[0], actor, rtol=1e-4, atol=1e-5)
    found = critic_loss(stage.mind, dreamt, SlowCritic(target=True, reg=0.0))
    torch.testing.assert_close(found, critic, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [dreams.SPEC, dreams.NUMBERS], ids=["choices", "numbers"])
@pytest.mark.parametrize("way", ["reinforce", "dynamics", "both"])
def test_the_actor_loss_reaches_the_actor_alone(way, spec):
    plan = replace(dreams.PLAN, actor_grad=way)
    stage = dreams.dreamer(spec, imagination=plan)
    losses, _ = stage.losses(dreams.batch(spec))
    losses["actor"].backward()
    touched = {name for name, part in stage.named_children() if any(p.grad is not None for p in part.parameters())}
    assert touched == {"actor"}
    assert all(p.requires_grad for part in (stage.model, stage.critic, stage.actor) for p in part.parameters())


@pytest.mark.parametrize("slow_target", [True, False])
def test_the_gradient_of_dynamics_is_that_of_the_return_in_the_actions(slow_target):
    """By finite differences. Gaussian latents and small actions make it smooth; the actor moves by its bias alone."""
    stage = dreams.dreamer(dreams.NUMBERS, parts={"classes": 0})
    plan = replace(dreams.PLAN, starts="all", actor_grad="dynamics", entropy=0.0)
    starts = choose_starts(stage.look(dreams.batch(dreams.NUMBERS)), "all")
    nn.init.zeros_(stage.actor.mlp[0].weight)
    for head in (stage.critic, stage.slow_critic.module):
        nn.init.normal_(head.mlp[-1].weight, std=5.0)
    bias, one = stage.actor.mlp[-1].bias, torch.ones(())
    nn.init.constant_(bias[2:], -4.0)  # deviations of 0.2

    def loss():
        torch.manual_seed(4)
        dreamt = imagine(stage.mind, starts, plan, fading=0.9, slow_target=slow_target)
        return actor_loss(stage.actor, replace(dreamt, weight=torch.ones_like(dreamt.weight)), plan, one)[0]

    (slope,) = torch.autograd.grad(loss(), bias)
    assert slope.abs().min() > 1e-3
    for i in range(len(bias)):
        found = []
        for step in (1e-2, -2e-2):
            with torch.no_grad():
                bias[i] += step
            found.append(loss().item())
        with torch.no_grad():
            bias[i] += 1e-2
        assert slope[i].item() == pytest.approx((found[0] - found[1]) / 2e-2, rel=0.02, abs=1e-3)


@pytest.mark.parametrize("way", ["dynamics", "both"])
def test_what_the_actor_sees_in_a_dream_passes_no_gradient(way):
    """It is moved by what its actions lead to, not by how they make it see."""
    stage, plan, seen = dreams.dreamer(), replace(dreams.PLAN, actor_grad=way), []
    stage.actor.register_forward_pre_hook(lambda module, args: seen.append(args[0].requires_grad))
    dreamt = dream(stage, plan)
    assert dreamt.returns.requires_grad
    assert seen == [False] * plan.horizon


def test_the_mix_of_both_gradients_is_a_weighted_mean():
    stage = dreams.dreamer()
    grads = {}
    for way in ("reinforce", "dynamics", "both"):
        plan = replace(dreams.PLAN, actor_grad=way, actor_grad_mix=0.3, entropy=0.0)
        torch.manual_seed(5)
        loss = actor_loss(stage.actor, dream(stage, plan), plan, torch.ones(()))[0]
        grads[way] = torch.autograd.grad(loss, list(stage.actor.parameters()))
    for one, through, both in zip(*grads.values(), strict=True):
        torch.testing.assert_close(both, 0.7 * one + 0.3 * through, rtol=1e-4, atol=1e-6)


def naive_replay(stage, learned, value, plan, b, t):
    """The lambda return of one real step, by its recursion: R_t = r + gamma c ((1 - lam) v' + lam R_{t + 1})."""
    batch = learned.batch
    if t == batch.mask.shape[1] or not batch.mask[b, t]:
        return value[b, t]
    ahead = naive_replay(stage, learned, value, plan, b, t + 1)
    going = plan.discount * (not batch.terminated[b, t])
    return batch.reward[b, t] + going * ((1 - plan.lam) * value[b, t + 1] + plan.lam * ahead)


@pytest.mark.parametrize("target", [False, True])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("count", ["all", 5])
def test_the_replay_critic_learns_real_steps_that_bootstrap_from_dreams(count, known, cut, target):
    """But for steps from a moment whose belief was only recalled, and never from the episode after one that was cut."""
    stage, plan, batch = dreams.dreamer(), replace(dreams.PLAN, starts=count), dreams.batch()
    if cut:
        batch = replace(batch, terminated=torch.zeros_like(batch.terminated), truncated=batch.terminated)
    if known:
        before = keep(stage.model, stage.look(batch).beliefs.map(lambda x: x[:, 3]))
        batch = replace(
            batch, first=batch.first & (torch.arange(7) > 0), recalled=before, known=torch.tensor([1, 0]) > 0
        )
    learned = stage.look(batch)
    starts = choose_starts(learned, count)
    dreamt = imagine(stage.mind, starts, plan, fading=0.9, slow_target=False)
    feature = learned.beliefs.feature
    value = stage.critic.mean((stage.slow_critic if target else stage.critic)(feature)).detach().clone()
    for n in range(len(starts.alive)):
        b, t = divmod(n if starts.place is None else int(starts.place[n]), 7)
        value[b, t] = dreamt.returns[n, 0]
    total, count = 0.0, 0
    for b, t in learned.batch.mask.nonzero().tolist():
        if known and (b, t) == (0, 0):
            continue
        opinion = stage.critic(feature[b, t]).log_softmax(-1)
        calm = stage.critic.mean(stage.slow_critic(feature[b, t]))
        for goal in (naive_replay(stage, learned, value, plan, b, t), calm):
            total = total - (two_hot(goal.float(), stage.critic.bins) * opinion).sum()
        count += 1
    slow = SlowCritic(target=target)
    found = replay_loss(stage.mind, learned, starts, dreamt, discount=0.9, lam=0.95, slow=slow, grad=True)
    torch.testing.assert_close(found, total / count, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grad", [True, False])
def test_the_replay_critic_teaches_the_world_model_only_if_it_may(grad):
    stage = dreams.dreamer(repval=ReplayCritic(0.3, grad=grad), imagination=replace(dreams.PLAN, starts="all"))
    losses, _ = stage.losses(dreams.batch())
    losses["repval"].backward()
    touched = {name for name, part in stage.named_children() if any(p.grad is not None for p in part.parameters())}
    assert touched == ({"model", "critic"} if grad else {"critic"})


def test_returns_are_scaled_by_the_range_of_this_and_earlier_dreams():
    norm = {"return_norm_rate": 0.5, "return_norm_low": 0.2, "return_norm_high": 0.7, "return_norm_floor": 0.3}
    plan = replace(dreams.PLAN, starts="all", **norm)
    stage, scale = dreams.dreamer(imagination=plan), 0.0
    torch.manual_seed(0)
    for _ in range(3):
        with torch.random.fork_rng():
            returns = dream(stage, plan).returns
        # Ends of the world count, as in DreamerV3; the padding behind one does not.
        flat = [float(x) for n, each in enumerate(returns) if n not in (12, 13) for x in each]
        low, high = (torch.tensor(sorted(flat)).quantile(share) for share in (0.2, 0.7))
        scale = 0.5 * scale + 0.5 * (high - low)
        watched = stage.losses(dreams.batch())[1]["critic/return_range"]
        torch.testing.assert_close(watched, scale)
    assert scale > 0.3


def test_no_discount_can_not_be_divided_by():
    with pytest.raises(ConfigError, match=r"discount=0.0 with discount_weight=false(.|\n)*discount_weight=true"):
        Imagination(discount=0.0, discount_weight=False)
    Imagination(discount=0.0)


def test_a_small_range_of_returns_counts_as_its_floor():
    stage = dreams.dreamer(imagination=replace(dreams.PLAN, return_norm_floor=1e4))
    assert float(stage.losses(dreams.batch())[1]["critic/return_range"]) == 1e4


@pytest.mark.parametrize("wrong", [{"low": 0.9, "high": 0.9}, {"rate": 0.0}, {"floor": 0.0}])
def test_a_range_of_returns_that_can_not_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="return_norm"):
        Imagination(**{f"return_norm_{name}": value for name, value in wrong.items()})


def test_without_return_norm_returns_keep_their_units():
    plan = replace(dreams.PLAN, return_norm=False, return_norm_rate=1.0, return_norm_floor=3.0)
    stage = dreams.dreamer(imagination=plan)
    assert float(stage.losses(dreams.batch())[1]["critic/return_range"]) == 1.0


def test_windows_to_be_judged_by_leave_the_range_of_returns_alone():
    stage = dreams.dreamer().eval()
    before = stage.normaliser.high.clone()
    stage.losses(dreams.batch())
    assert torch.equal(before, stage.normaliser.high)
