from __future__ import annotations

import pytest
import torch
from torch import nn

from worldmodels.core.errors import ConfigError
from worldmodels.nn.target import Normaliser, Target


def network(value: float) -> nn.Linear:
    net = nn.Linear(2, 2)
    nn.init.constant_(net.weight, value)
    nn.init.constant_(net.bias, value)
    return net


def test_a_polyak_target_moves_its_share_of_the_way():
    target, fast = Target(network(0.0), rate=0.25), network(1.0)
    for expected in (0.25, 0.4375):
        target.update(fast)
        torch.testing.assert_close(target.module.weight, torch.full((2, 2), expected))


def test_a_hard_target_jumps_at_every_third_update_also_after_a_restart():
    fast = network(1.0)
    target = Target(network(0.0), every=3)
    target.update(fast)
    again = Target(network(5.0), every=3)
    again.load_state_dict(target.state_dict())
    again.update(fast)
    assert not again.module.weight.any()
    again.update(fast)
    assert (again.module.weight == 1).all()


def test_a_target_gets_no_gradient_but_passes_one_to_its_input():
    target, x = Target(network(0.5)), torch.ones(1, 2, requires_grad=True)
    target(x).sum().backward()
    assert x.grad is not None
    assert all(p.grad is None and not p.requires_grad for p in target.parameters())


def test_a_target_does_not_share_memory_with_its_source():
    fast = network(1.0)
    target = Target(fast)
    fast.weight.data.zero_()
    assert (target.module.weight == 1).all()


def test_a_target_that_never_moves_is_refused():
    with pytest.raises(ConfigError, match="rate=0"):
        Target(network(0.0), rate=0.0)


def test_the_normaliser_follows_percentiles_slowly_and_never_blows_up_small_returns():
    normaliser = Normaliser(rate=0.1)
    normaliser.update(torch.linspace(0, 1000, 1001))
    assert float(normaliser.low) == pytest.approx(5.0, rel=1e-4)  # 0.1 of the 5th percentile, 50
    assert float(normaliser.high) == pytest.approx(95.0, rel=1e-4)
    assert float(normaliser.scale) == pytest.approx(90.0, rel=1e-4)
    small = Normaliser(rate=1.0)
    small.update(torch.linspace(0, 0.1, 50))
    assert float(small.scale) == 1.0


def test_the_normaliser_looks_at_the_rows_that_count():
    normaliser, alone = Normaliser(rate=1.0), Normaliser(rate=1.0)
    values, counts = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 9, torch.arange(6) % 3 > 0
    normaliser.update(values, counts)
    alone.update(values[counts])
    assert normaliser.scale == alone.scale > 1
    normaliser.update(values, torch.zeros(6, dtype=torch.bool))
    assert normaliser.scale == alone.scale


def test_the_normaliser_is_saved():
    normaliser, again = Normaliser(), Normaliser()
    normaliser.update(torch.linspace(-500, 500, 101))
    again.load_state_dict(normaliser.state_dict())
    assert float(again.scale) == float(normaliser.scale) > 1
