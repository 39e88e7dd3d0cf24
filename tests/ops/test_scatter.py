from __future__ import annotations

import torch

from worldmodels.ops.scatter import scattered


def test_the_numbers_are_those_of_splitmix64() -> None:
    """Its state counts up by the golden ratio. Reference values: splitmix64.c of Vigna (2015), seed 0."""
    first = 0xE220A8397B1DCDAF
    assert int(scattered(torch.zeros(1, dtype=torch.int64))) == first >> 33
    assert int(scattered(torch.tensor([0x9E3779B97F4A7C15 - 2**64]))) == 0x6E789E6AA1B965F4 >> 33


def test_they_depend_on_every_part_and_are_spread_evenly() -> None:
    a, b = torch.arange(300)[:, None], torch.arange(200)
    found = scattered(a, torch.tensor(7), b)
    assert found.shape == (300, 200)
    assert int(found.min()) >= 0
    assert int(found.max()) < 2**31
    assert len(found.unique()) > 0.9999 * found.numel() - 3
    counts = torch.bincount((found % 6).flatten()).double() / found.numel()
    assert counts.sub(1 / 6).abs().max() < 0.006  # four standard deviations
    assert not torch.equal(found, scattered(a, torch.tensor(8), b))
    assert torch.equal(found[50:], scattered(a[50:], torch.tensor(7), b)), "alone or among others"
