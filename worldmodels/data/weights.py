"""Numbers to draw rows by, without a tree."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

_BLOCK = 256


class Weights:
    """Non-negative numbers by row, and draws in proportion to them.

    Two levels instead of a tree: sums over blocks, recomputed where something changed, so nothing drifts. A draw costs
    one pass over the sums and one over a block.
    """

    def __init__(self) -> None:
        self.blocks, self.sums = np.zeros((1, _BLOCK)), np.zeros(1)

    def put(self, row: Int64[np.ndarray, " n"], value: Float64[np.ndarray, " n"] | float) -> None:
        while row.max(initial=0) >= self.blocks.size:
            self.blocks = np.concatenate([self.blocks, np.zeros_like(self.blocks)])
            self.sums = np.concatenate([self.sums, np.zeros_like(self.sums)])
        self.blocks.reshape(-1)[row] = value
        touched = np.unique(row // _BLOCK)
        self.sums[touched] = self.blocks[touched].sum(1)

    def get(self, row: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        return self.blocks.reshape(-1)[row]

    def draw(self, count: int, rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
        """Rows, one from each of `count` equal shares of the sum, in that order."""
        ends = np.cumsum(self.sums)
        aim = (np.arange(count) + rng.random(count)) / count * ends[-1]
        block = np.minimum(np.searchsorted(ends, aim, side="right"), np.flatnonzero(self.sums)[-1])
        inner = np.cumsum(self.blocks[block], axis=1)
        aim = np.minimum(aim - (ends - self.sums)[block], np.nextafter(inner[:, -1], 0))
        return block * _BLOCK + (inner <= aim[:, None]).sum(1)
