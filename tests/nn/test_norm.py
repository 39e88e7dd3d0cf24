from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from worldmodels.nn.norm import LayerNorm, RMSNorm


@pytest.mark.parametrize("axis", [-1, -3])
def test_rms_norm_divides_by_the_root_mean_square_along_its_axis(axis):
    x = torch.randn(2, 5, 5, 5) * 7
    norm = RMSNorm(5, axis=axis)
    norm.weight.data = torch.arange(1.0, 6)
    expected = torch.empty_like(x)
    for index in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(5)).tolist():
        where = (*index, slice(None)) if axis == -1 else (index[0], slice(None), *index[1:])
        row = x[where]
        expected[where] = row / math.sqrt(float((row**2).mean()) + 1e-4) * norm.weight.data
    torch.testing.assert_close(norm(x), expected)


def test_layer_norm_over_channels_equals_torch_on_channels_last():
    x, norm = torch.randn(2, 6, 3, 4), LayerNorm(6, axis=-3)
    norm.weight.data, norm.bias.data = torch.randn(6), torch.randn(6)
    expected = nn.functional.layer_norm(x.movedim(1, -1), (6,), norm.weight, norm.bias, 1e-3).movedim(-1, 1)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("few", [2, 4])
def test_layer_norm_of_many_short_rows_equals_torch(few):
    rng = torch.Generator().manual_seed(0)
    draws = [torch.randn(64, 32, 16, few, generator=rng) * 3 for _ in range(2)]
    norm, found = LayerNorm(few), []
    norm.weight.data, norm.bias.data = torch.randn(few, generator=rng), torch.randn(few, generator=rng)
    for function in (lambda x: nn.functional.layer_norm(x, (few,), norm.weight, norm.bias, 1e-3), norm):
        x = draws[0].clone().requires_grad_()
        out = function(x)
        found.append((out, *torch.autograd.grad(out, [x, *norm.parameters()], draws[1])))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_norms_keep_half_precision_but_compute_in_single():
    x = torch.full((4, 8), 300.0, dtype=torch.float16)  # 300 ** 2 overflows float16
    for axis in (-1, -2):
        out = RMSNorm(8 if axis == -1 else 4, axis=axis)(x)
        assert out.dtype == torch.float16
        torch.testing.assert_close(out.float(), torch.ones(4, 8), atol=1e-3, rtol=0)


@pytest.mark.parametrize("leading", [(), (7,), (3, 4)])
def test_gradients_of_rms_norm_are_those_of_torch(leading):
    rng = torch.Generator().manual_seed(0)
    draws = [torch.randn(*leading, 9, generator=rng) * 3 for _ in range(2)]
    norm, upstream, found = RMSNorm(9), draws[1], []
    norm.weight.data = torch.randn(9, generator=rng)
    for function in (norm, lambda x: nn.functional.rms_norm(x, (9,), norm.weight, 1e-4)):
        x = draws[0].clone().requires_grad_()
        found.append((function(x), *torch.autograd.grad(function(x), [x, norm.weight], upstream)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(norm(draws[0]), found[0][0])
