from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from worldmodels.core.errors import ConfigError
from worldmodels.nn.laprop import LaProp, clip_adaptive_


def naive(weight: np.ndarray, grads: list[np.ndarray], *, lr: float, b1: float, b2: float, eps: float, decay: float):
    """One tensor, one number at a time, as the equations are printed."""
    weight, square, momentum = weight.astype(np.float64), np.zeros(weight.size), np.zeros(weight.size)
    flat = weight.reshape(-1)
    for t, grad in enumerate(grads, 1):
        for i, g in enumerate(grad.reshape(-1).astype(np.float64)):
            square[i] = b2 * square[i] + (1 - b2) * g * g
            unit = g / (np.sqrt(square[i] / (1 - b2**t)) + eps)
            momentum[i] = b1 * momentum[i] + (1 - b1) * unit
            flat[i] -= lr * decay * flat[i] + lr * momentum[i] / (1 - b1**t)
    return flat.reshape(weight.shape)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_laprop_follows_its_equations(decay):
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,), ())]
    grads = [
        [rng.normal(size=w.shape).astype(np.float32) * 10.0 ** rng.integers(-4, 4) for w in starts] for _ in range(6)
    ]
    params = [nn.Parameter(torch.from_numpy(w.copy())) for w in starts]
    optimizer = LaProp(params, lr=0.05, betas=(0.8, 0.95), eps=1e-20, weight_decay=decay)
    for row in grads:
        for param, grad in zip(params, row, strict=True):
            param.grad = torch.from_numpy(np.asarray(grad, np.float32))
        optimizer.step()
    for i, param in enumerate(params):
        expected = naive(starts[i], [row[i] for row in grads], lr=0.05, b1=0.8, b2=0.95, eps=1e-20, decay=decay)
        np.testing.assert_allclose(param.detach().numpy(), expected, rtol=2e-5, atol=2e-6)


def test_the_first_step_is_as_long_as_the_rate_whatever_the_gradient():
    weight = nn.Parameter(torch.zeros(3))
    optimizer = LaProp([weight], lr=0.1)
    weight.grad = torch.tensor([1e-9, -5.0, 0.0])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.1, 0.1, 0.0]))


def test_each_weight_counts_its_own_updates_and_each_group_has_its_rate():
    late, early, slow = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    optimizer = LaProp([{"params": [late, early]}, {"params": [slow], "lr": 0.01}], lr=0.1)
    for step in range(3):
        early.grad, slow.grad = torch.ones(1), torch.ones(1)
        late.grad = torch.ones(1) if step == 2 else None
        optimizer.step()
    torch.testing.assert_close(early.detach(), torch.tensor([-0.3]))
    torch.testing.assert_close(late.detach(), torch.tensor([-0.1]))  # as if it were its first: it is
    torch.testing.assert_close(slow.detach(), torch.tensor([-0.03]))


def train(net: nn.Module, optimizer: LaProp, steps: range) -> None:
    for step in steps:
        rng = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        net(torch.randn(4, 3, generator=rng)).square().sum().backward()
        clip_adaptive_(net.parameters(), 0.3)
        optimizer.step()


def test_a_restored_optimizer_goes_on_bit_for_bit():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    other = copy.deepcopy(net)
    whole, half = LaProp(net.parameters(), lr=0.01), LaProp(other.parameters(), lr=0.01)
    train(net, whole, range(6))
    train(other, half, range(3))
    again = LaProp(other.parameters(), lr=0.5)
    again.load_state_dict(copy.deepcopy(half.state_dict()))
    train(other, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_clipping_leaves_short_gradients_alone_and_cuts_long_ones_to_their_share():
    weights = [torch.full((4,), 2.0), torch.zeros(3), torch.full((2,), 5.0), torch.ones(1)]
    params = [nn.Parameter(w) for w in weights]
    grads = [torch.full((4,), 100.0), torch.tensor([3.0, 0.0, 4.0]), torch.full((2,), 0.1), None]
    for param, grad in zip(params, grads, strict=True):
        param.grad = None if grad is None else grad.clone()
    clip_adaptive_(params, 0.3, floor=1e-3)
    assert float(params[0].grad.norm()) == pytest.approx(0.3 * 4.0)  # its weights' norm is 4
    torch.testing.assert_close(params[0].grad / params[0].grad.norm(), torch.full((4,), 0.5))
    torch.testing.assert_close(params[1].grad, 0.3e-3 * torch.tensor([0.6, 0.0, 0.8]))  # the floor, for zero weights
    assert torch.equal(params[2].grad, grads[2])
    assert params[3].grad is None


def test_averages_that_never_forget_are_refused():
    with pytest.raises(ConfigError, match="below 1"):
        LaProp([nn.Parameter(torch.zeros(1))], betas=(0.9, 1.0))
