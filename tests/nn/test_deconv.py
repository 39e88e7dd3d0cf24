"""The way up to a picture; its sides and its way down are in `test_conv`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from worldmodels.nn.deconv import FromPixel


@pytest.mark.parametrize("bias", [True, False])
def test_a_pixel_grows_as_by_any_transposed_convolution(bias):
    torch.manual_seed(0)
    fast = FromPixel(7, 3, (5, 2), 2, bias=bias)
    plain = nn.ConvTranspose2d(7, 3, (5, 2), 2, bias=bias)
    plain.load_state_dict(fast.state_dict())
    pixel, weight = torch.randn(4, 7, 1, 1), torch.randn(4, 3, 5, 2)
    for layer in (fast, plain):
        (layer(pixel) * weight).sum().backward()
    torch.testing.assert_close(fast(pixel), plain(pixel))
    for ours, torchs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, torchs.grad)
