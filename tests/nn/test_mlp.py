from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from worldmodels.core.errors import ConfigError
from worldmodels.nn.mlp import MLP, init_weights, make_activation
from worldmodels.nn.norm import make_norm


def test_dreamer_init_has_the_variance_of_one_over_fan_in_and_is_cut_at_two_deviations():
    layer = nn.Linear(400, 2000)
    init_weights(layer, "dreamer")
    deviation = 1.1368 / math.sqrt(400)
    assert float(layer.weight.detach().std()) == pytest.approx(1 / math.sqrt(400), rel=0.01)
    assert float(layer.weight.detach().abs().max()) <= 2 * deviation
    assert float(layer.weight.detach().abs().max()) > 1.9 * deviation
    assert not layer.bias.any()


def test_dreamer_init_of_a_convolution_counts_its_window_as_fan_in():
    layer = nn.Conv2d(16, 64, 5)
    init_weights(layer, "dreamer")
    assert float(layer.weight.detach().std()) == pytest.approx(1 / math.sqrt(16 * 25), rel=0.02)


def test_orthogonal_init_has_orthogonal_rows_of_the_asked_length():
    layer = nn.Linear(32, 8)
    init_weights(layer, "orthogonal", 0.5)
    torch.testing.assert_close(layer.weight @ layer.weight.T, 0.25 * torch.eye(8))


def test_an_out_scale_of_zero_starts_at_zero_and_still_learns():
    mlp = MLP(3, 16, 2, 4, out_scale=0.0)
    out = mlp(torch.randn(5, 7, 3))
    assert out.shape == (5, 7, 4)
    assert not out.any()
    (out - 1).square().mean().backward()
    assert mlp[-1].weight.grad.abs().sum() > 0


def test_without_an_output_size_the_mlp_ends_with_its_last_activation():
    mlp = MLP(3, 16, 2, activation="relu", norm="layer")
    out = mlp(torch.randn(50, 3))
    assert out.shape[-1] == mlp.size == 16
    assert (out >= 0).all()


def test_unknown_norms_and_activations_are_refused_by_name():
    with pytest.raises(ConfigError, match="batch"):
        make_norm("batch", 3)
    with pytest.raises(ConfigError, match="sine"):
        make_activation("sine")
