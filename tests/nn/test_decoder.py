from __future__ import annotations

import pytest
import torch

from worldmodels.core.spec import ArraySpec
from worldmodels.nn.likelihood import Likelihood, loss, mean

IMAGE = ArraySpec((2, 3, 3), "uint8", "image")
PLANES = ArraySpec((2, 3, 4), "bool", "planes")
SYMBOLS = ArraySpec((2, 3, 2), "uint8", "symbols", (5, 3))
VECTOR = ArraySpec((4,), "float32")


def test_images_cost_the_squared_error_of_colours_in_zero_to_one():
    value, obs = torch.randn(5, 2, 3, 3), torch.randint(256, (5, 2, 3, 3), dtype=torch.uint8)
    expected = [((1 / (1 + (-v).exp()) - o.float() / 255) ** 2).sum() for v, o in zip(value, obs, strict=True)]
    torch.testing.assert_close(loss(IMAGE, value, obs), torch.stack(expected))


def test_vectors_cost_the_squared_error_of_their_symlog_and_come_back_in_their_own_units():
    obs = torch.tensor([[0.0, 7.0, -50.0, 1e4]])
    squashed = torch.tensor([[1.0, 8.0, 51.0, 10001.0]]).log() * obs.sign()
    torch.testing.assert_close(loss(VECTOR, squashed + 0.5, obs), torch.tensor([4 * 0.25]))
    torch.testing.assert_close(mean(VECTOR, squashed), obs)


def test_planes_are_independent_and_symbols_are_choices():
    value = torch.randn(2, 3, 4)
    obs = torch.rand(2, 3, 4) > 0.5
    p = value.sigmoid()
    torch.testing.assert_close(loss(PLANES, value, obs), -torch.where(obs, p, 1 - p).log().sum())
    value, obs = torch.randn(2, 3, 8), torch.randint(3, (2, 3, 2), dtype=torch.uint8)
    total = 0.0
    for place in [(y, x) for y in range(2) for x in range(3)]:
        total -= float(value[place][:5].softmax(-1)[int(obs[place][0])].log())
        total -= float(value[place][5:].softmax(-1)[int(obs[place][1])].log())
    assert float(loss(SYMBOLS, value, obs)) == pytest.approx(total, rel=1e-5)
    assert int(mean(SYMBOLS, value)[1, 2, 1]) == int(value[1, 2, 5:].argmax())


@pytest.mark.parametrize("array", [IMAGE, VECTOR])
def test_half_precision_outputs_are_compared_in_single_precision(array):
    value = torch.randn(3, *array.shape).bfloat16()
    obs = torch.randint(256, (3, *array.shape)).to(getattr(torch, array.dtype))
    assert torch.equal(loss(array, value, obs), loss(array, value.float(), obs))


def test_gradients_of_squared_errors_are_those_of_the_formula():
    obs, upstream = torch.randint(256, (5, 2, 3, 3), dtype=torch.uint8), torch.randn(5)
    value = torch.randn(5, 2, 3, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(loss(IMAGE, value, obs), value, upstream)
    p = 1 / (1 + (-value.detach()).exp())
    torch.testing.assert_close(grad, upstream.view(5, 1, 1, 1) * 2 * (p - obs / 255) * p * (1 - p))
    number, told = torch.tensor([2.0, 3.0], requires_grad=True), torch.tensor([2.0, 5.0])
    (grad,) = torch.autograd.grad(loss(ArraySpec((), "float32"), number, told, NORMAL), number, torch.ones(2))
    torch.testing.assert_close(grad, torch.tensor([0.0, -2.0]))  # no nan where nothing is missed


NORMAL = Likelihood(image="normal", planes="normal", symbols="normal", vector="normal")


def test_normal_likelihoods_are_half_the_squared_error_as_pydreamer_counts_it():
    """Pixels in [-0.5, 0.5], planes as 0 and 1, symbols one-hot, vectors as they are."""
    value, obs = torch.randn(2, 3, 3), torch.randint(256, (2, 3, 3), dtype=torch.uint8)
    pairs = zip(value.flatten().tolist(), obs.flatten().tolist(), strict=True)
    expected = sum((v - (o / 255 - 0.5)) ** 2 / 2 for v, o in pairs)
    assert float(loss(IMAGE, value, obs, NORMAL)) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(mean(IMAGE, obs / 255 - 0.5, NORMAL), obs / 255)
    value, obs = torch.randn(2, 3, 4), torch.rand(2, 3, 4) > 0.5
    assert float(loss(PLANES, value, obs, NORMAL)) == pytest.approx(float(((value - obs.float()) ** 2).sum() / 2))
    value, obs = torch.randn(2, 3, 8), torch.randint(3, (2, 3, 2), dtype=torch.uint8)
    total = 0.0
    for y, x in [(y, x) for y in range(2) for x in range(3)]:
        hot = [float(k == int(obs[y, x, 0])) for k in range(5)] + [float(k == int(obs[y, x, 1])) for k in range(3)]
        total += sum((v - h) ** 2 / 2 for v, h in zip(value[y, x].tolist(), hot, strict=True))
    assert float(loss(SYMBOLS, value, obs, NORMAL)) == pytest.approx(total, rel=1e-5)
    assert int(mean(SYMBOLS, value, NORMAL)[1, 2, 1]) == int(value[1, 2, 5:].argmax())
    assert float(loss(VECTOR, torch.zeros(4), torch.tensor([3.0, 0, 0, -4.0]), NORMAL)) == 12.5
    assert torch.equal(mean(VECTOR, value[0, 0, :4], NORMAL), value[0, 0, :4])
