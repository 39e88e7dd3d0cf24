from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from worldmodels.nn.late import late
from worldmodels.nn.recurrent import BlockLinear, SharingBlocks

BATCH, STEPS = 3, 4


def network(*, bias: bool = True) -> nn.ModuleList:
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Linear(8, 6, bias=bias), BlockLinear(8, 8, 2), SharingBlocks(8, 6, 5, 8, 4)])
    for parameter in layers.parameters():
        nn.init.normal_(parameter)
    return layers


def loop(layers: nn.ModuleList, steps: int = STEPS) -> list[Tensor]:
    """A small recurrence through all three kinds."""
    dense, block, sharing = layers
    rng = torch.Generator().manual_seed(1)
    state, states = torch.randn(BATCH, 8, generator=rng), []
    ahead = sharing.ahead(torch.randn(steps, BATCH, 5, generator=rng))
    for t in range(steps):
        state = torch.tanh(block(torch.tanh(sharing(state, torch.tanh(dense(state)), ahead[t]))))
        states.append(state)
    return states


def gradients(layers: nn.ModuleList, total: Tensor, *, keep: bool = False) -> list[Tensor]:
    return list(torch.autograd.grad(total, list(layers.parameters()), retain_graph=keep))


@pytest.mark.parametrize(("steps", "bias"), [(STEPS, True), (STEPS + 3, False)])
def test_gradients_are_those_of_autograd(steps, bias):
    """Also if fewer moments came than were announced, and of layers without a bias."""
    layers = network(bias=bias)
    plain = loop(layers)
    with late(list(layers), steps, BATCH, smallest=1):
        collected = loop(layers)
    for a, b in zip(plain, collected, strict=True):
        torch.testing.assert_close(a, b)
    totals = [sum(state.square().sum() for state in states) for states in (plain, collected)]
    for a, b in zip(*[gradients(layers, total) for total in totals], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_each_of_several_backward_passes_counts_its_own_moments_only():
    layers = network()
    plain = loop(layers)
    with late(list(layers), STEPS, BATCH, smallest=1):
        collected = loop(layers)
    for moment in (3, 1, 2):
        a = gradients(layers, plain[moment].sum(), keep=True)
        b = gradients(layers, collected[moment].sum(), keep=True)
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_afterwards_and_without_gradients_the_layers_are_as_ever():
    layers = network()
    with late(list(layers), STEPS, BATCH, smallest=1), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    with late(list(layers), STEPS, BATCH, smallest=1):
        pass
    with torch.no_grad(), late(list(layers), 1, BATCH, smallest=1):
        silent = loop(layers)  # more moments than announced
    layers.requires_grad_(False)
    with late(list(layers), 1, BATCH, smallest=1):
        frozen = loop(layers)
    layers.requires_grad_(True)
    with late(list(layers), 1, BATCH):
        small = loop(layers)
    for a, *others in zip(silent, frozen, small, loop(layers), strict=True):
        assert all(torch.equal(a, b) for b in others)


def test_in_half_precision_the_weights_gradients_stay_close_and_whole():
    layers, found = network(), []
    for around in (nullcontext(), late(list(layers), STEPS, BATCH, smallest=1)):
        with torch.autocast("cpu", torch.bfloat16), around:
            states = loop(layers)
        found.append(gradients(layers, sum(state.float().square().sum() for state in states)))
    for a, b in zip(*found, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.1 * float(a.abs().max()))


def test_a_block_that_shares_is_a_block_linear_of_an_input_repeated_for_every_block():
    sharing = network()[2]
    x, shared, early = torch.randn(BATCH, 8), torch.randn(BATCH, 6), torch.randn(BATCH, 5)
    peer = BlockLinear(8 + 4 * 11, 8, 4)
    peer.weight.data = sharing.weight.unflatten(1, (4, 2)).transpose(0, 1).contiguous()
    peer.bias.data = sharing.bias
    repeated = torch.cat([x.unflatten(1, (4, 2)), torch.cat([shared, early], 1)[:, None].expand(-1, 4, -1)], -1)
    torch.testing.assert_close(sharing(x, shared, sharing.ahead(early)), peer(repeated.flatten(1)))
