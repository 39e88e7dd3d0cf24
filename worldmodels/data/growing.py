"""A vector that grows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64


class Growing:
    """A numpy vector with room at its end."""

    def __init__(self, dtype: str) -> None:
        self.room, self.size = np.zeros(64, dtype), 0

    @property
    def values(self) -> np.ndarray:
        return self.room[: self.size]

    def append(self, values: np.ndarray) -> None:
        begin = self.size
        self._extend(len(values))
        self.room[begin : self.size] = values

    def weave(self, at: Int64[np.ndarray, " n"], values: np.ndarray) -> None:
        """Insert each value before the one at its position in `at`, which does not fall. Only the tail moves."""
        if not len(at) or at[0] == self.size:
            self.append(values)
            return
        low = int(at[0])
        tail = self.values[low:].copy()
        self._extend(len(values))
        old, new = np.ones(self.size - low, bool), at - low + np.arange(len(at))
        old[new] = False
        moved = self.room[low : self.size]
        moved[old], moved[new] = tail, values

    def _extend(self, count: int) -> None:
        self.size += count
        while self.size > len(self.room):
            self.room = np.concatenate([self.room, np.zeros_like(self.room)])
