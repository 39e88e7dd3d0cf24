from __future__ import annotations

import math

import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.nn.heads import BinaryHead, HeadKind, NormalHead, SupportHead, TransformedHead, TwoHotHead, scalar_head


def test_a_probability_of_going_on_is_not_rounded_to_certainty():
    head = BinaryHead(3)
    assert float(head.mean(torch.tensor(6.9, dtype=torch.bfloat16))) == pytest.approx(0.999, abs=1e-4)


def test_a_reward_head_starts_at_exactly_zero():
    head = TwoHotHead(3)
    assert (head.mean(head(torch.randn(10, 3))) == 0).all()


def test_a_two_hot_loss_is_the_cross_entropy_with_the_two_bins_around_the_target():
    """Hafner et al. (2024), equations 9 and 10, with 255 bins: symexp of 128 even steps from -20 to 0, mirrored."""
    head = scalar_head(3)
    half = [-math.expm1(20 - 20 * i / 127) for i in range(128)]
    bins = [*half, *[-x for x in half[-2::-1]]]
    assert len(bins) == 255
    torch.testing.assert_close(head.bins, torch.tensor(bins), rtol=1e-5, atol=1e-6)
    logits = torch.randn(255, generator=torch.Generator().manual_seed(0))
    log_probs = logits.log_softmax(-1).tolist()
    for target in (0.0, 0.3, -17.2, 1e4, 1e12):
        below = max([i for i, b in enumerate(bins) if b <= target], default=0)
        if below == 254:
            expected = -log_probs[254]
        else:
            share = (target - bins[below]) / (bins[below + 1] - bins[below])
            expected = -(1 - share) * log_probs[below] - share * log_probs[below + 1]
        found = float(head.loss(logits[None], torch.tensor([target])))
        assert found == pytest.approx(expected, rel=2e-3), target
    probs = logits.softmax(-1).tolist()
    assert float(head.mean(logits)) == pytest.approx(sum(p * b for p, b in zip(probs, bins, strict=True)), rel=1e-4)


def test_half_the_squared_error_is_a_normals_loss_at_pydreamers_scale():
    """-log N(r; mean, s) s^2 with s = 1 / sqrt(2 pi), whose logarithm of the density has no constant."""
    head = scalar_head(3, head="mse", units=8, layers=2)
    assert isinstance(head, NormalHead)
    told, target = head(torch.randn(5, 3)), torch.randn(5)
    scale = 1 / math.sqrt(2 * math.pi)
    peer = torch.distributions.Normal(told.squeeze(-1), scale)
    torch.testing.assert_close(head.loss(told, target), -peer.log_prob(target) * scale**2)
    torch.testing.assert_close(head.mean(told), told.squeeze(-1))


def test_a_target_counts_as_the_nearest_value_of_the_support():
    head = scalar_head(3, head="categorical", support=[-10.0, 0.0, 1.0, 10.0], units=8)
    assert isinstance(head, SupportHead)
    told = head(torch.randn(4, 3))
    log_probs = told.log_softmax(-1)
    nearest = [0, 1, 2, 3]
    expected = torch.stack([-log_probs[i, k] for i, k in enumerate(nearest)])
    torch.testing.assert_close(head.loss(told, torch.tensor([-7.0, 0.4, 0.6, 100.0])), expected)
    torch.testing.assert_close(head.mean(told), (told.softmax(-1) * torch.tensor([-10.0, 0, 1, 10])).sum(-1))


@pytest.mark.parametrize("number", [0.0, 0.37, -1.0, 12.5, -812.0, 5e4, -5e4])
def test_muzeros_head_learns_to_say_the_number_itself(number: float) -> None:
    """Where its loss is least, it says the target: 601 bins of h(x), Schrittwieser et al. (2020), appendix F."""
    head = TransformedHead(3, units=8)
    h = math.copysign(math.sqrt(abs(number) + 1) - 1, number) + 0.001 * number
    below = math.floor(h)
    share = torch.zeros(601)
    share[below + 300], share[below + 301] = 1 - (h - below), h - below
    said = share.clamp(min=1e-30).log()[None].requires_grad_()
    assert float(head.mean(said).detach()) == pytest.approx(number, rel=1e-3, abs=1e-3)
    loss = head.loss(said, torch.tensor([number])).sum()
    entropy = -float(torch.special.xlogy(share, share).sum())
    assert float(loss.detach()) == pytest.approx(entropy, abs=1e-3)
    assert float(torch.autograd.grad(loss, said)[0].abs().max()) < 1e-3
    logits = torch.randn(601, generator=torch.Generator().manual_seed(0))
    expected = -float((share * logits.log_softmax(0)).sum())
    assert float(head.loss(logits[None], torch.tensor([number]))) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", ["mse", "symexp_twohot", "categorical"])
def test_no_gradient_reaches_the_target_and_all_learn(kind):
    head = scalar_head(3, head=kind, support=[0.0, 1.0], units=8)
    target = torch.ones(5, requires_grad=True)
    head.loss(head(torch.randn(5, 3)), target).sum().backward()
    assert target.grad is None
    assert head.mlp[-1].weight.grad.abs().sum() > 0


def test_a_support_of_one_value_is_refused():
    with pytest.raises(ConfigError, match="at least two values"):
        scalar_head(3, head="categorical", support=[1.0])


@pytest.mark.parametrize("head", ["mse", "symexp_twohot"])
def test_losses_of_several_targets_are_those_of_each(head):
    torch.manual_seed(0)
    made = scalar_head(5, head=head, units=4, layers=1)
    parameters, targets = torch.randn_like(made(torch.randn(3, 6, 5))), torch.randn(2, 3, 6).mul(30)
    for together, target in zip(made.losses(parameters, *targets), targets, strict=True):
        torch.testing.assert_close(together, made.loss(parameters, target))


@pytest.mark.parametrize("head", ["symexp_twohot", "transformed_twohot"])
def test_no_parameters_say_more_than_a_two_hot_heads_reach(head: HeadKind):
    made = scalar_head(4, head=head, bins=41, limit=10.0)
    certain = torch.full((41,), -1e9)
    certain[-1] = 0.0
    assert float(made.mean(certain)) == pytest.approx(made.reach, rel=1e-4)
    assert scalar_head(4, head="mse").reach == math.inf
