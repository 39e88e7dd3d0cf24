import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions as oracle

from worldmodels.ops.categorical import (
    balanced_kl,
    draw,
    entropy,
    kl,
    mixed,
    mode,
    sample,
    straight_through,
    uniform,
    unimix,
)

seeds = st.integers(0, 2**31 - 1)


def draw_log_probs(seed: int, *shape: int, spread: float = 2.0) -> torch.Tensor:
    return (spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def test_unimix_at_a_known_point():
    log_probs = unimix(torch.tensor([0.0, 0.0, -torch.inf, -torch.inf]), 0.2)
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.45, 0.45, 0.05, 0.05]))


@given(seeds, st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_unimix_sums_to_one_and_keeps_a_floor(seed, mix):
    logits = 40 * torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(seed))
    log_probs = unimix(logits, mix)
    torch.testing.assert_close(log_probs.logsumexp(-1), torch.zeros(3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_probs.exp(), (1 - mix) * logits.softmax(-1) + mix / 6)
    assert (log_probs.exp() >= mix / 6 * 0.999).all()


def test_unimix_in_half_precision_is_computed_in_float32():
    logits = torch.randn(3, 5).bfloat16()
    assert torch.equal(unimix(logits), unimix(logits.float()))


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_entropy_and_kl_equal_torch_distributions(seed):
    p, q = draw_log_probs(seed, 2, 3, 4, 5), draw_log_probs(seed + 1, 2, 3, 4, 5)
    one, other = (oracle.Independent(oracle.OneHotCategorical(logits=x), 1) for x in (p, q))
    torch.testing.assert_close(entropy(p), one.entropy())
    torch.testing.assert_close(kl(p, q), oracle.kl_divergence(one, other), rtol=1e-4, atol=1e-5)


@given(seeds, st.floats(0.0, 30.0))
def test_kl_is_never_negative_and_zero_for_equals(seed, spread):
    p, q = draw_log_probs(seed, 3, 4, 5, spread=spread), draw_log_probs(seed + 1, 3, 4, 5, spread=spread)
    assert (kl(p, q) >= -1e-5).all()
    assert (kl(p, p) == 0).all()


def test_kl_is_the_mean_log_ratio_of_samples():
    p, q = draw_log_probs(0, 2, 4), draw_log_probs(1, 2, 4)
    draws = sample(p.expand(20_000, 2, 4), torch.Generator().manual_seed(0))
    ratio = (draws * (p - q)).sum((-2, -1))
    assert ratio.mean().item() == pytest.approx(kl(p, q).item(), abs=5 * ratio.std().item() / 141)


def test_samples_are_one_hot_with_the_right_frequencies():
    log_probs = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    count = 40_000
    draws = sample(log_probs.expand(count, 4), torch.Generator().manual_seed(1))
    assert torch.equal(draws.sum(-1), torch.ones(count))
    assert draws.unique().tolist() == [0, 1]
    probs = log_probs.exp()
    assert ((draws.mean(0) - probs).abs() < 4 * (probs * (1 - probs) / count).sqrt()).all()


def test_an_impossible_class_is_never_drawn():
    log_probs = torch.tensor([-torch.inf, 0.0]).expand(1000, 2)
    assert torch.equal(sample(log_probs)[:, 0], torch.zeros(1000))


def test_the_same_generator_state_gives_the_same_draws_and_none_is_the_global_generator():
    log_probs = draw_log_probs(0, 50, 3, 4)
    a, b = (sample(log_probs, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(a, b)
    before = torch.get_rng_state()
    sample(log_probs, torch.Generator().manual_seed(7))
    assert torch.equal(torch.get_rng_state(), before)
    c = sample(log_probs)
    assert not torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(before)
    assert torch.equal(sample(log_probs), c)


def test_noise_drawn_ahead_gives_the_same_draws_as_drawing_on_the_spot():
    probs = draw_log_probs(0, 50, 3, 4).exp()
    noise = uniform((50, 3), probs, torch.Generator().manual_seed(3))
    for drawn in (draw, straight_through):
        assert torch.equal(drawn(probs, noise=noise), drawn(probs, torch.Generator().manual_seed(3)))


def test_the_ends_of_the_noise_draw_possible_classes():
    probs = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0])
    ends = torch.tensor([0.0, 0.2499, 0.25, 1 - 2**-24])
    assert draw(probs.expand(4, 5), noise=ends).argmax(-1).tolist() == [1, 1, 3, 3]


def test_straight_through_draws_are_exactly_one_hot():
    draws = straight_through(mixed(torch.randn(64, 8, 8)))
    assert draws.unique().tolist() == [0, 1]
    assert torch.equal(draws.sum(-1), torch.ones(64, 8))


def test_straight_through_gradient_is_that_of_the_softmax():
    logits, weight = torch.randn(3, 4, 5, requires_grad=True), torch.randn(3, 4, 5)
    (found,) = torch.autograd.grad((straight_through(mixed(logits, 0.0)) * weight).sum(), logits)
    (expected,) = torch.autograd.grad((logits.softmax(-1) * weight).sum(), logits)
    torch.testing.assert_close(found, expected)


def test_mode_is_the_likeliest_class():
    assert mode(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]).log()).tolist() == [[0, 1, 0], [1, 0, 0]]


def gradients(loss_of, seed: int = 0, spread: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the summed loss with respect to the logits of posterior and prior; zeros where none arrives."""
    rng = torch.Generator().manual_seed(seed)
    logits = [(spread * torch.randn(2, 3, 4, 5, generator=rng)).requires_grad_() for _ in range(2)]
    loss = loss_of(*(x.log_softmax(-1) for x in logits)).sum()
    found = torch.autograd.grad(loss, logits, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(logits, found, strict=True))


def test_dyn_teaches_only_the_prior_and_rep_only_the_posterior():
    to_post, to_prior = gradients(kl)
    for dyn, rep in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.1)):
        post, prior = gradients(lambda p, q, d=dyn, r=rep: balanced_kl(p, q, free_bits=0.0, dyn=d, rep=r)[0])
        torch.testing.assert_close(post, rep * to_post)
        torch.testing.assert_close(prior, dyn * to_prior)


def test_alpha_balance_splits_the_plain_gradient():
    to_post, to_prior = gradients(kl)
    post, prior = gradients(lambda p, q: balanced_kl(p, q, free_bits=0.0, dyn=0.8, rep=0.2)[0])
    torch.testing.assert_close(post, 0.2 * to_post)
    torch.testing.assert_close(prior, 0.8 * to_prior)
    p, q = draw_log_probs(0, 3, 4, 5), draw_log_probs(1, 3, 4, 5)
    torch.testing.assert_close(balanced_kl(p, q, free_bits=0.0, dyn=0.5, rep=0.5)[0], kl(p, q))


def test_below_the_free_bits_nothing_is_learned():
    post, prior = gradients(lambda p, q: balanced_kl(p, q, free_bits=1e3)[0])
    assert (post == 0).all()
    assert (prior == 0).all()


def test_free_bits_clamp_each_moment_after_the_sum_over_groups():
    # Two groups with a KL of ln 2 each: 0.69 per group is below one nat, 1.39 together is above.
    certain, even = torch.tensor([1 - 1e-7, 1e-7]).log().expand(2, 2), torch.tensor([0.5, 0.5]).log().expand(2, 2)
    post = torch.stack([certain, even])
    loss, plain = balanced_kl(post, even.expand(2, 2, 2), free_bits=1.0, dyn=1.0, rep=0.1)
    assert plain.tolist() == pytest.approx([2 * math.log(2), 0.0], abs=1e-4)
    assert loss.tolist() == pytest.approx([1.1 * 2 * math.log(2), 1.1], abs=1e-4)


def test_the_watched_kl_has_no_gradient():
    assert not balanced_kl(*(draw_log_probs(s, 2, 3, 4).requires_grad_() for s in (0, 1)))[1].requires_grad
