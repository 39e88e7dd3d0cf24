"""Which episodes are held out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64


class Split(NamedTuple):
    """Episode numbers to learn from, and others to be judged by."""

    train: Int64[np.ndarray, " n"]
    held: Int64[np.ndarray, " m"]


def split(numbers: Int64[np.ndarray, " n"], fraction: float, seed: int) -> Split:
    """About that fraction held out, each episode by its own number, so that more of them never change the past."""
    ordered = np.sort(numbers)
    held = _chance(ordered, seed) < fraction
    return Split(ordered[~held], ordered[held])


def _chance(numbers: Int64[np.ndarray, " n"], seed: int) -> Float64[np.ndarray, " n"]:
    """A number in [0, 1) for each episode that depends on it and the seed alone (splitmix64, Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) * 2.0**-53
