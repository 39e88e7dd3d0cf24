"""Chance without a generator: the same numbers wherever, and in whichever company, they are worked out."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as signed numbers, which wrap around alike
_MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))


def scattered(*numbers: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """Whole numbers from 0 to 2**31 - 1 that depend on these alone, evenly. splitmix64: Steele et al. (2014).

    What is broadcast together stands in for the state of a generator, each number in its turn.
    """
    x = torch.zeros((), dtype=torch.int64, device=numbers[0].device)
    for number in numbers:
        x = (x ^ number) + _GOLDEN
        for shift, factor in _MIX:
            x = (x ^ _right(x, shift)) * factor
        x = x ^ _right(x, 31)
    return _right(x, 33)


def _right(x: Int64[Tensor, "..."], shift: int) -> Int64[Tensor, "..."]:
    """Shifted as if it had no sign."""
    return (x >> shift) & (2 ** (64 - shift) - 1)
