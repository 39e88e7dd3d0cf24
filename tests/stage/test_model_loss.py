from __future__ import annotations

from dataclasses import replace

import dreams
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence

from worldmodels.core.errors import ConfigError
from worldmodels.model.recall import keep
from worldmodels.model.unroll import arrivals, seen
from worldmodels.ops.bins import two_hot
from worldmodels.ops.bound import importance_weighted
from worldmodels.ops.categorical import mixed
from worldmodels.stage.model_loss import ModelLoss, learn

LOSS = ModelLoss()


def losses(model, batch, loss=LOSS, seed=3):
    torch.manual_seed(seed)
    return learn(model, batch, loss).losses


def values(found):
    return {name: loss.item() for name, loss in found.items()}


def test_actions_lead_to_the_observation_after_them_and_none_leads_to_a_first_one():
    batch = dreams.batch()
    led = arrivals(dreams.SPEC, batch)
    assert (led[:, 0] == 0).all()
    assert (led[0, 4] == 0).all()
    for b, t in ((0, 0), (0, 2), (0, 5), (1, 1)):
        assert led[b, t + 1].argmax() == batch.action[b, t]
        assert led[b, t + 1].sum() == 1


def test_all_observations_but_padding_are_seen():
    expected = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]], dtype=torch.bool)
    assert torch.equal(seen(dreams.batch()), expected)


def naive_kl(belief, b, t, *, gaussian=False):
    """KL of the posterior from the prior of one moment."""
    total = 0.0
    for s in range(belief.post.shape[2]):
        post, prior = belief.post[b, t, s], belief.prior[b, t, s]
        if gaussian:
            p, q = (Normal(x[0], 2 * torch.sigmoid(x[1]) + 0.1) for x in (post, prior))
        else:
            p, q = (Categorical(probs=mixed(x)) for x in (post, prior))
        total += kl_divergence(p, q).item()
    return total


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0])])
@pytest.mark.parametrize("classes", [5, 0])
def test_the_loss_equals_a_loop_over_every_moment(classes, weight):
    model, batch = dreams.model(classes=classes), replace(dreams.batch(), weight=weight)
    torch.manual_seed(5)
    learned = learn(model, batch, LOSS)
    beliefs, reached = learned.beliefs, seen(batch)
    sums, counts = {name: [0.0, 0.0] for name in ("grid", "kl", "reward", "cont")}, {"moment": [0, 0], "step": [0, 0]}
    for b in range(2):
        for t in range(7):
            if not reached[b, t]:
                continue
            counts["moment"][b] += 1
            p = torch.sigmoid(model.decoder(beliefs.feature[b, t])["grid"])
            truth = batch.obs["grid"][b, t].float()
            sums["grid"][b] -= (truth * p.log() + (1 - truth) * (1 - p).log()).sum().item()
            kl = naive_kl(beliefs, b, t, gaussian=classes == 0)
            sums["kl"][b] += 1.0 * max(kl, 1.0) + 0.1 * max(kl, 1.0)
        for t in range(6):
            if not batch.mask[b, t]:
                continue
            counts["step"][b] += 1
            arrival = beliefs.feature[b, t + 1]
            target = two_hot(batch.reward[b, t], model.heads.reward.bins)
            sums["reward"][b] -= (target * model.heads.reward(arrival).log_softmax(-1)).sum().item()
            going = torch.sigmoid(model.heads.cont(arrival))
            sums["cont"][b] -= (going if not batch.terminated[b, t] else 1 - going).log().item()
    surprise = [0.0, 0.0]  # of each window, whatever its weight
    for name, count in (("grid", "moment"), ("kl", "moment"), ("reward", "step"), ("cont", "step")):
        weighed = sum(x * w for x, w in zip(sums[name], (1, 1) if weight is None else weight.tolist(), strict=True))
        assert learned.losses[name].item() == pytest.approx(weighed / sum(counts[count]), rel=1e-4)
        surprise = [s + x / n for s, x, n in zip(surprise, sums[name], counts[count], strict=True)]
    assert learned.surprise.tolist() == pytest.approx(surprise, rel=1e-4)


@pytest.mark.parametrize("draws", [1, 2])
def test_padding_and_the_step_between_episodes_teach_nothing(draws):
    model, batch = dreams.model(), dreams.batch()
    obs = batch.obs["grid"].clone()
    obs[1, 5:] = ~obs[1, 5:]
    other = replace(batch, obs={"grid": obs}, reward=torch.where(batch.mask, batch.reward, 100.0))
    loss = ModelLoss(iwae_samples=draws)
    assert values(losses(model, batch, loss)) == pytest.approx(values(losses(model, other, loss)))


def test_each_scale_multiplies_its_own_loss():
    model, batch = dreams.model(), dreams.batch()

    def told(**scales):
        return values(losses(model, batch, ModelLoss(scales={**dreams.SCALES, **scales})))

    once = told()
    for scale, name in (("obs", "grid"), ("reward", "reward"), ("cont", "cont")):
        assert told(**{scale: 3.0}) == pytest.approx({**once, name: 3 * once[name]})
    # Both halves have the same value; only their gradients differ.
    assert told(dyn=0.5, rep=0.25)["kl"] == pytest.approx(once["kl"] * 0.75 / 1.1)


def sides(loss):
    """The KL's own gradients in the logits of the posterior and of the prior."""
    torch.manual_seed(3)
    learned = learn(dreams.model(), dreams.batch(), loss)
    return torch.autograd.grad(learned.losses["kl"], [learned.beliefs.post, learned.beliefs.prior])


def test_balance_shares_the_gradient_out_to_posterior_and_prior():
    """kl_balance=0.8: four fifths of the plain gradient teach the prior, one the posterior; all times kl_weight."""
    post, prior = sides(ModelLoss(free_bits=0.0, scales={**dreams.SCALES, "dyn": 1.0, "rep": 1.0}))
    found = sides(ModelLoss(free_bits=0.0, kl_balance=0.8, kl_weight=0.1))
    torch.testing.assert_close(found[0], 0.02 * post)
    torch.testing.assert_close(found[1], 0.08 * prior)
    assert post.abs().max() > 1e-3


def test_an_even_balance_is_half_the_plain_kl_on_each_side():
    model, batch = dreams.model(), dreams.batch()
    halves = losses(model, batch, ModelLoss(free_bits=0.0, kl_balance=0.5, kl_weight=1.0))["kl"]
    torch.manual_seed(3)
    beliefs = learn(model, batch, LOSS).beliefs
    at = seen(batch).nonzero().tolist()
    assert halves.item() == pytest.approx(sum(naive_kl(beliefs, b, t) for b, t in at) / len(at), rel=1e-5)


def test_below_the_free_bits_the_kl_teaches_nothing():
    assert not any(side.any() for side in sides(ModelLoss(free_bits=1e3, kl_balance=0.8)))


@pytest.mark.parametrize("free", [0.4, 1e3])
def test_with_free_avg_the_free_bits_are_those_of_the_mean(free):
    """danijar/dreamerv2, `kl_loss`: max(mean(kl), free) on either side, of the moments that were seen."""
    model, batch = dreams.model(), dreams.batch()
    loss = ModelLoss(free_bits=free, free_avg=True, kl_balance=0.8, kl_weight=0.5)
    torch.manual_seed(3)
    learned = learn(model, batch, loss)
    total, at = 0.0, seen(batch).nonzero().tolist()
    kls = [naive_kl(learned.beliefs, b, t) for b, t in at]
    assert min(kls) < 0.4 < sum(kls) / len(kls)
    for share in (0.8, 0.2):
        total += 0.5 * share * max(sum(kls) / len(kls), free)
    assert learned.losses["kl"].item() == pytest.approx(total, rel=1e-4)
    found = sides(loss)
    plain = sides(replace(loss, free_bits=0.0, free_avg=False))
    for side, whole in zip(found, plain, strict=True):
        torch.testing.assert_close(side, whole if sum(kls) / len(kls) > free else torch.zeros_like(whole))


def naive_bound(learned, model, draws, scales, kl_weight):
    """-log mean_i exp(-loss_i) of each moment, all that is said of it in one sum, from the beliefs of the draws."""
    total, count = 0.0, 0
    batch, belief = learned.batch, learned.beliefs
    for b in range(0, len(batch.mask), draws):
        for t in range(7):
            if not learned.seen[b, t]:
                continue
            each = []
            for i in range(b, b + draws):
                logits = model.decoder(belief.feature[i, t])["grid"]
                truth = batch.obs["grid"][i, t].float()
                loss = scales["obs"] * nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
                for s in range(4):
                    k = belief.stoch[i, t, s].argmax()
                    ratio = mixed(belief.post[i, t, s])[k].log() - mixed(belief.prior[i, t, s])[k].log()
                    loss = loss + kl_weight * ratio
                if t and batch.mask[i, t - 1]:
                    target = two_hot(batch.reward[i, t - 1], model.heads.reward.bins)
                    rewarded = model.heads.reward(belief.feature[i, t]).log_softmax(-1)
                    going = torch.sigmoid(model.heads.cont(belief.feature[i, t]))
                    going = 1 - going if batch.terminated[i, t - 1] else going
                    loss = loss - scales["reward"] * (target * rewarded).sum() - scales["cont"] * going.log()
                each.append(loss)
            total, count = total - torch.stack(each).neg().exp().mean().log(), count + 1
    return total / count


def test_with_several_draws_each_moment_costs_the_log_of_their_mean_likelihood():
    model, scales = dreams.model(), {**dreams.SCALES, "obs": 0.5, "reward": 2.0, "cont": 3.0}
    loss = ModelLoss(iwae_samples=3, kl_weight=0.7, scales=scales)
    torch.manual_seed(3)
    learned = learn(model, dreams.batch(), loss)
    assert learned.losses.keys() == {"bound"}
    assert len(learned.beliefs.deter) == 6
    assert not torch.equal(learned.beliefs.stoch[0], learned.beliefs.stoch[1])
    expected = naive_bound(learned, model, 3, scales, 0.7)
    torch.testing.assert_close(learned.losses["bound"], expected, rtol=1e-4, atol=1e-4)
    counts = seen(dreams.batch()).sum(1)
    torch.testing.assert_close((learned.surprise * counts).sum() / counts.sum(), expected, rtol=1e-4, atol=1e-4)


def test_more_draws_bound_tighter_and_one_is_the_loss_itself():
    loss = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(importance_weighted(loss[:, :1]), loss[:, 0])
    assert importance_weighted(loss).mean() < importance_weighted(loss[:, :2]).mean() < loss.mean()
    model, batch, found = dreams.model(), dreams.batch(), {}
    for draws in (2, 8):
        found[draws] = sum(losses(model, batch, ModelLoss(iwae_samples=draws), s)["bound"].item() for s in range(8))
    assert found[8] < found[2]


def test_the_sampled_kl_is_the_analytic_one_on_average():
    latents = dreams.model().rssm.latents
    rng = torch.Generator().manual_seed(0)
    raw = torch.randn(2, 4, 5, generator=rng)
    post, prior = latents.distribution(raw[0]), latents.distribution(raw[1])
    drawn = latents.draw(raw[:1].expand(20_000, 4, 5), rng)
    sampled = latents.log_prob(post.expand_as(drawn), drawn) - latents.log_prob(prior.expand_as(drawn), drawn)
    assert float(sampled.mean()) == pytest.approx(float(latents.kl(post, prior)), abs=4 * float(sampled.std()) / 141)


def test_the_continuation_head_can_learn_the_discount():
    model, batch = dreams.model(), dreams.batch()
    torch.manual_seed(3)
    learned = learn(model, batch, ModelLoss(contdisc=0.9))
    total = 0.0
    for b, t in batch.mask.nonzero().tolist():
        p, target = torch.sigmoid(model.heads.cont(learned.beliefs.feature[b, t + 1])), 0.9 * (~batch.terminated[b, t])
        total -= target * p.log() + (1 - target) * (1 - p).log()
    torch.testing.assert_close(learned.losses["cont"], total / batch.mask.sum(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_without_reward_grad_the_reward_teaches_its_head_alone(grad):
    model = dreams.model()
    losses(model, dreams.batch(), ModelLoss(reward_grad=grad))["reward"].backward()
    touched = {name for name, part in model.named_children() if any(p.grad is not None for p in part.parameters())}
    assert touched == ({"encoder", "rssm", "heads"} if grad else {"heads"})


def test_a_model_without_a_decoder_learns_by_its_representation():
    model = dreams.model(decoder=False)
    found = losses(model, dreams.batch())
    assert found.keys() == {"reward", "cont", "kl", "representation"}
    found["representation"].backward()
    assert model.rssm.post_out.weight.grad is not None


def recalled(model, batch, known, moment=2, seed=7):
    """The batch, cut off before a moment, whose beliefs go on from what was believed there."""
    torch.manual_seed(seed)
    before = learn(model, batch, LOSS).beliefs.map(lambda x: x[:, moment])
    late = batch.map(lambda x: x[:, moment:])
    return before, replace(late, key=None, recalled=keep(model, before), known=torch.tensor(known))


def test_a_window_goes_on_from_what_is_recalled_without_a_look_at_its_first_moment():
    model, batch = dreams.model(), dreams.batch()
    before, late = recalled(model, batch, [True, True])
    learned = learn(model, late, LOSS)
    torch.testing.assert_close(learned.beliefs.deter[:, 0], before.deter)
    torch.testing.assert_close(learned.beliefs.stoch[:, 0], before.stoch)
    led = arrivals(dreams.SPEC, late)
    expected = model.observe(before, led[:, 1], model.encode({"grid": late.obs["grid"][:, 1]}))
    torch.testing.assert_close(learned.beliefs.post[:, 1], expected.post)
    torch.testing.assert_close(learned.beliefs.deter[:, 1], expected.deter)
    other = replace(late, obs={"grid": torch.cat([~late.obs["grid"][:, :1], late.obs["grid"][:, 1:]], 1)})
    assert values(losses(model, late)) == values(losses(model, other))
    assert not learned.seen[:, 0].any()
    assert learned.seen[:, 1:].sum() == seen(late)[:, 1:].sum()


def test_a_window_of_which_nothing_is_known_begins_blank_and_learns_from_its_first_moment():
    model, batch = dreams.model(), dreams.batch()
    before, late = recalled(model, batch, [True, False])
    learned = learn(model, late, LOSS)
    blank = learn(model, replace(late, recalled={}, known=None), LOSS)
    torch.testing.assert_close(learned.beliefs.post[1, 0], blank.beliefs.post[1, 0])
    assert not torch.allclose(learned.beliefs.deter[0, 0], blank.beliefs.deter[0, 0])
    assert learned.seen[:, 0].tolist() == [False, True]
    torch.testing.assert_close(learned.beliefs.deter[0, 0], before.deter[0])


def test_where_an_episode_opens_nothing_is_recalled():
    model, batch = dreams.model(), dreams.batch()
    _, late = recalled(model, batch, [True, True], moment=0)
    plain = replace(late, recalled={}, known=None)
    torch.manual_seed(3)
    learned = learn(model, late, LOSS)
    torch.manual_seed(3)
    blank = learn(model, plain, LOSS)
    torch.testing.assert_close(learned.beliefs.post[:, 0], blank.beliefs.post[:, 0])
    assert torch.equal(learned.seen, blank.seen)


def test_two_windows_of_which_the_second_goes_on_are_one():
    """With the latents' noise of the one long window, the two believe the same."""
    model, batch = dreams.model(), dreams.batch()
    torch.manual_seed(3)
    whole = learn(model, batch, LOSS)
    before, late = whole.beliefs.map(lambda x: x[:, 2]), batch.map(lambda x: x[:, 2:])
    late = replace(late, recalled=keep(model, before), known=torch.tensor([True, True]))
    torch.manual_seed(3)
    noise = torch.rand(7, 2, 4)
    drawn = iter([noise[2:3], noise[3:]])
    original = torch.rand
    try:
        torch.rand = lambda *args, **kwargs: next(drawn)
        rest = learn(model, late, LOSS)
    finally:
        torch.rand = original
    for name in ("deter", "stoch"):
        torch.testing.assert_close(getattr(rest.beliefs, name), getattr(whole.beliefs, name)[:, 2:])
    torch.testing.assert_close(rest.beliefs.post[:, 1:], whole.beliefs.post[:, 3:])


def test_a_loss_without_a_scale_is_an_error():
    with pytest.raises(ConfigError, match="name each loss once"):
        ModelLoss(scales={"obs": 1.0})
