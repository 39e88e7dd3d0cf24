import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldmodels.core.errors import ConfigError
from worldmodels.ops.bins import (
    expectation,
    linear_bins,
    symexp,
    symexp_bins,
    symlog,
    two_hot,
    two_hot_loss,
    value_transform,
    value_transform_inverse,
)

BINS = symexp_bins()
numbers = st.floats(-1e4, 1e4, width=32)


def naive_two_hot(x: float, bins: list[float]) -> list[float]:
    """Hafner et al. (2023), equation 9, for one number."""
    weights = [0.0] * len(bins)
    k = sum(b <= x for b in bins)
    if k == 0:
        weights[0] = 1.0
    elif k == len(bins):
        weights[-1] = 1.0
    else:
        low, high = bins[k - 1], bins[k]
        weights[k - 1], weights[k] = abs(high - x) / abs(high - low), abs(low - x) / abs(high - low)
    return weights


def test_symlog_and_value_transform_at_known_points():
    torch.testing.assert_close(symlog(torch.tensor([0.0, math.e - 1, 1 - math.e**2])), torch.tensor([0.0, 1.0, -2.0]))
    torch.testing.assert_close(value_transform(torch.tensor([0.0, 3.0, -8.0])), torch.tensor([0.0, 1.003, -2.008]))


@given(st.floats(-1e6, 1e6, width=32))
def test_transforms_are_undone_by_their_inverses(x):
    point = torch.tensor(x)
    assert symexp(symlog(point)).item() == pytest.approx(x, rel=1e-5, abs=1e-6)
    for eps in (0.0, 0.001, 0.01):
        assert value_transform_inverse(value_transform(point, eps=eps), eps=eps).item() == pytest.approx(
            x, rel=1e-4, abs=1e-6
        )


def test_bins_mirror_each_other_exactly_and_hold_zero():
    assert len(BINS) == 255
    assert torch.equal(BINS, -BINS.flip(0))
    assert BINS[127] == 0
    assert BINS[-1].item() == pytest.approx(math.exp(20) - 1, rel=1e-5)
    torch.testing.assert_close(symlog(BINS[:128]), torch.linspace(-20, 0, 128))


def test_an_even_number_of_symmetric_bins_is_refused():
    with pytest.raises(ConfigError, match="odd"):
        symexp_bins(254)
    with pytest.raises(ConfigError, match="low < high"):
        linear_bins(1.0, 1.0, 5)


@settings(deadline=None)
@given(st.lists(st.one_of(numbers, st.floats(-1e10, 1e10, width=32), st.sampled_from(BINS.tolist())), min_size=1))
def test_two_hot_equals_the_paper(xs):
    found = two_hot(torch.tensor(xs), BINS)
    expected = torch.tensor([naive_two_hot(x, BINS.tolist()) for x in xs])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(st.lists(numbers, min_size=1))
def test_two_hot_has_two_neighbours_that_sum_to_one_and_average_to_x(xs):
    x = torch.tensor(xs)
    weights = two_hot(x, BINS)
    assert ((weights > 0).sum(-1) <= 2).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(xs)))
    torch.testing.assert_close(expectation(weights.log(), BINS), x, rtol=1e-3, atol=1e-4)


def test_numbers_beyond_the_bins_go_to_the_nearest():
    bins = linear_bins(-1.0, 1.0, 5)
    assert two_hot(torch.tensor([-9.0, 9.0]), bins).tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert two_hot(torch.tensor([[0.25]]), bins).tolist() == [[[0, 0, 0.5, 0.5, 0]]]


@pytest.mark.parametrize("level", [0.0, 3.7, -1000.0])
def test_uniform_logits_expect_exactly_zero(level):
    assert (expectation(torch.full((3, 2, 255), level), BINS) == 0).all()
    assert (expectation(torch.full((7, 255), level, dtype=torch.bfloat16), BINS) == 0).all()


def test_expectation_is_the_mean_of_the_bins():
    for bins in (linear_bins(-2.0, 5.0, 8), linear_bins(-3.0, 3.0, 7), symexp_bins(11, limit=3.0)):
        logits = torch.randn(4, 3, len(bins))
        torch.testing.assert_close(expectation(logits, bins), (logits.softmax(-1) * bins).sum(-1))


def test_loss_is_the_cross_entropy_with_the_two_hot_target():
    logits, target = torch.randn(5, 3, 255, requires_grad=True), torch.randn(5, 3) * 50
    loss = two_hot_loss(logits, target, BINS)
    weights = two_hot(target, BINS)
    torch.testing.assert_close(loss, -(weights * logits.log_softmax(-1)).sum(-1))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(gradient, logits.softmax(-1) - weights)


def test_no_gradient_reaches_the_target_of_the_loss():
    logits, target = torch.zeros(3, 255, requires_grad=True), torch.ones(3, requires_grad=True)
    two_hot_loss(logits, target, BINS).sum().backward()
    assert target.grad is None
    assert logits.grad is not None


def test_half_precision_logits_give_float32_results():
    logits = torch.randn(4, 255).bfloat16()
    assert expectation(logits, BINS).dtype == torch.float32
    exact = two_hot_loss(logits.float(), torch.ones(4), BINS)
    assert torch.equal(two_hot_loss(logits, torch.ones(4), BINS), exact)


def test_descending_the_loss_recovers_the_target():
    target, logits = torch.tensor([-1234.0, 0.003, 7.5]), torch.zeros(3, 255, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        two_hot_loss(logits, target, BINS).sum().backward()
        optimizer.step()
    # What mass is left on the far bins still moves the mean, so compare the likeliest two bins.
    near = torch.where(logits.detach() >= logits.detach().topk(2).values[:, -1:], logits.detach(), -torch.inf)
    torch.testing.assert_close(expectation(near, BINS), target, rtol=0.02, atol=0.02)
