from __future__ import annotations

import pytest
import torch

from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.nn.action import ActionHead

OBS = {"vector": ArraySpec((3,), "float32")}
CHOICES = EnvSpec("choices", OBS, 4)
NUMBERS = EnvSpec("numbers", OBS, 2, discrete=False)


def head(spec: EnvSpec, dist: str = "bounded_normal") -> ActionHead:
    torch.manual_seed(0)
    made = ActionHead(spec, 3, units=8, layers=1, dist=dist)
    torch.nn.init.normal_(made.mlp[-1].weight, std=3.0)
    return made


@pytest.mark.parametrize("spec", [CHOICES, NUMBERS])
def test_probabilities_and_entropies_agree_with_torch(spec):
    made = head(spec)
    parameters = made(torch.randn(7, 5, 3))
    if spec.discrete:
        peer = torch.distributions.OneHotCategorical(probs=parameters.exp())
    else:
        peer = torch.distributions.Independent(torch.distributions.Normal(*parameters.chunk(2, -1)), 1)
    action = peer.sample()
    torch.testing.assert_close(made.log_prob(parameters, action), peer.log_prob(action), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made.entropy(parameters), peer.entropy(), rtol=1e-4, atol=1e-4)


def test_no_choice_ever_dies_out():
    made = head(CHOICES)
    assert (made(torch.randn(100, 3) * 100).exp() >= 0.01 / 4 * 0.999).all()


def test_means_and_deviations_stay_in_their_range_and_a_new_head_explores_widely():
    mean, deviation = head(NUMBERS)(torch.randn(100, 3) * 100).chunk(2, -1)
    assert mean.abs().max() <= 1
    assert deviation.min() >= 0.1
    assert deviation.max() <= 1
    new = ActionHead(NUMBERS, 3)(torch.randn(10, 3)).chunk(2, -1)[1]
    torch.testing.assert_close(
        new, torch.full_like(new, 0.9 * torch.tensor(2.0).sigmoid().item() + 0.1), atol=0.02, rtol=0
    )


def test_draws_scatter_around_the_mean_as_far_as_the_deviation_says():
    made = head(NUMBERS)
    parameters = made(torch.randn(1, 3)).expand(20_000, -1)
    draws = made.sample(parameters, torch.Generator().manual_seed(0))
    mean, deviation = parameters[0].detach().chunk(2, -1)
    torch.testing.assert_close(draws.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(draws.std(0), deviation, rtol=0.03, atol=0)
    assert not draws.requires_grad
    assert torch.equal(made.mode(parameters)[0], mean)


def test_numbers_follow_their_formulas():
    """Those of pydreamer: normal_tanh and tanh_normal; Hafner et al. (2024) for bounded_normal."""
    feature = torch.randn(50, 3)
    wanted = {
        "bounded_normal": lambda m, s: (m.tanh(), 0.1 + 0.9 / (1 + torch.exp(-(s + 2)))),
        "normal_tanh": lambda m, s: (m.tanh(), 0.01 + 1 / (1 + torch.exp(-s))),
        "tanh_normal": lambda m, s: (5 * (m / 5).tanh(), torch.log(1 + torch.exp(s)) + 0.1),
    }
    for dist, formula in wanted.items():
        made = head(NUMBERS, dist)
        torch.testing.assert_close(made(feature), torch.cat(formula(*made.mlp(feature).chunk(2, -1)), -1))


def test_a_squashed_normal_knows_its_density():
    made = head(NUMBERS, "tanh_normal")
    parameters = made(torch.randn(500, 3)).detach()
    mean, deviation = parameters.chunk(2, -1)
    normal = torch.distributions.Normal(mean, deviation)
    peer = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform()])
    action = made.sample(parameters, torch.Generator().manual_seed(0))
    assert action.abs().max() <= 1
    inside = (action.abs() < 0.99).all(-1)
    assert inside.sum() > 50
    torch.testing.assert_close(
        made.log_prob(parameters, action)[inside], peer.log_prob(action).sum(-1)[inside], rtol=1e-3, atol=1e-3
    )
    assert torch.isfinite(made.log_prob(parameters, torch.ones(500, 2))).all()
    torch.testing.assert_close(made.mode(parameters), mean.tanh())


@pytest.mark.parametrize("dist", ["bounded_normal", "normal_tanh", "tanh_normal"])
def test_a_draw_with_a_gradient_is_the_same_draw(dist):
    made = head(NUMBERS, dist)
    parameters = made(torch.randn(9, 3)).detach().requires_grad_()
    plain, passing = (draw(parameters, torch.Generator().manual_seed(1)) for draw in (made.sample, made.rsample))
    assert torch.equal(plain, passing.detach())
    assert not plain.requires_grad
    (grad,) = torch.autograd.grad(passing.sum(), parameters)
    slope = 1 - plain.square() if dist == "tanh_normal" else torch.ones_like(plain)
    torch.testing.assert_close(grad[:, :2], slope)


def test_choices_pass_the_gradient_of_their_probabilities():
    made = head(CHOICES)
    parameters = made(torch.randn(9, 3)).detach().requires_grad_()
    worth = torch.randn(4)
    drawn = made.rsample(parameters, torch.Generator().manual_seed(1))
    assert torch.equal(drawn.detach(), made.sample(parameters, torch.Generator().manual_seed(1)))
    found = torch.autograd.grad((drawn * worth).sum(), parameters)[0]
    torch.testing.assert_close(found, torch.autograd.grad((parameters.exp() * worth).sum(), parameters)[0])
