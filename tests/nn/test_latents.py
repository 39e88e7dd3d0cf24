from __future__ import annotations

import math

import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.nn.latents import Categorical, Gaussian, Latents, make_latents

KINDS = [Categorical(3, 4, 0.1), Gaussian(3)]


def raws(kind: Latents, *batch: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return [torch.randn(*batch, kind.stoch, kind.parameters, generator=rng) * 2 for _ in range(2)]


def peer(kind: Latents, raw: torch.Tensor) -> torch.distributions.Distribution:
    """The same written in torch's terms, from the papers' formulas."""
    if isinstance(kind, Categorical):
        probs = (1 - kind.unimix) * raw.exp() / raw.exp().sum(-1, keepdim=True) + kind.unimix / kind.classes
        return torch.distributions.Independent(torch.distributions.OneHotCategorical(probs), 1)
    deviation = 2 / (1 + torch.exp(-raw[..., 1:])) + 0.1
    return torch.distributions.Independent(torch.distributions.Normal(raw[..., :1], deviation), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_divergences_entropies_and_densities_agree_with_torch(kind):
    p, q = raws(kind, 5, 2)
    mine, its = (kind.distribution(x) for x in (p, q))
    found = kind.kl(mine, its)
    torch.testing.assert_close(
        found, torch.distributions.kl_divergence(peer(kind, p), peer(kind, q)), rtol=1e-4, atol=1e-5
    )
    assert (kind.kl(mine, mine).abs() < 1e-5).all()
    torch.testing.assert_close(kind.entropy(mine), peer(kind, p).entropy(), rtol=1e-4, atol=1e-5)
    drawn = kind.draw(p)
    assert drawn.shape == (5, 2, kind.stoch, kind.width)
    torch.testing.assert_close(kind.log_prob(mine, drawn), peer(kind, p).log_prob(drawn), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_divergence_is_the_mean_of_what_draws_say(kind):
    p, q = (x.expand(40_000, -1, -1) for x in raws(kind))
    mine, its = (kind.distribution(x) for x in (p, q))
    drawn = kind.draw(p, torch.Generator().manual_seed(0))
    said = kind.log_prob(mine, drawn) - kind.log_prob(its, drawn)
    error = 4 * float(said.std()) / math.sqrt(len(said))
    assert float(said.mean()) == pytest.approx(float(kind.kl(mine[:1], its[:1])), abs=error)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_drawn_ahead_gives_the_draws_of_one_moment_after_the_other(kind):
    raw = raws(kind, 7, 5)[0]
    rng = torch.Generator().manual_seed(1)
    slow = torch.stack([kind.draw(x, rng) for x in raw])
    noise = torch.rand(7, 5, kind.stoch, generator=torch.Generator().manual_seed(1))
    assert torch.equal(kind.draw(raw, noise=noise), slow)


def test_gaussian_draws_scatter_as_told_and_pass_gradients_to_both_numbers():
    kind = Gaussian(1)
    raw = torch.tensor([[0.7, -1.0]], requires_grad=True)
    drawn = kind.draw(raw.expand(50_000, 1, 2), torch.Generator().manual_seed(0))
    deviation = 2 / (1 + math.e) + 0.1
    assert float(drawn.detach().mean()) == pytest.approx(0.7, abs=0.02)
    assert float(drawn.detach().std()) == pytest.approx(deviation, rel=0.02)
    mean, spread = torch.autograd.grad(drawn.square().mean(), raw)[0][0].tolist()
    slope = 2 * math.e / (1 + math.e) ** 2  # of the deviation
    assert mean == pytest.approx(2 * 0.7, rel=0.03)  # E x^2 = m^2 + s^2
    assert spread == pytest.approx(2 * deviation * slope, rel=0.03)


def test_no_noise_is_so_extreme_that_a_draw_is_infinite():
    ends = torch.tensor([[0.0, 2.0**-24, 1 - 2.0**-24]])
    drawn = Gaussian(3).draw(torch.zeros(1, 3, 2), noise=ends).flatten()
    assert torch.isfinite(drawn).all()
    assert drawn[0] < drawn[1] < -5
    assert drawn[2] > 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_mode_is_the_likeliest_draw(kind):
    raw = raws(kind, 6)[0]
    known = kind.distribution(raw)
    best = kind.log_prob(known, kind.mode(raw))
    assert all((kind.log_prob(known, kind.draw(raw)) <= best).all() for _ in range(20))


def test_classes_choose_the_kind():
    assert make_latents(4, 0, 0.01) == Gaussian(4)
    assert make_latents(4, 8, 0.5) == Categorical(4, 8, 0.5)
    with pytest.raises(ConfigError, match="classes=0 is Gaussian"):
        make_latents(4, 1, 0.01)
