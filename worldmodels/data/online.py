"""What was lived last, to be learned from once before anything is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from worldmodels.data.table import Table


class Online:
    """Whole windows of so many steps that lie end to end from each episode's beginning, in the order of their ends.

    DreamerV3's online queue (`replay.online`): the newest sequences are served first. Difference: they do not run over
    an episode's end, and what an episode has left there is only drawn.
    """

    def __init__(self, length: int) -> None:
        self.length, self.seen = length, 0  # pieces taken in
        self.waiting = np.zeros((0, 2), np.int64)

    def take(self, table: Table, count: int) -> Int64[np.ndarray, "N 2"]:
        """Up to so many windows, as episode number and first step; no longer waiting."""
        place, start, length = (column.values[self.seen :] for column in table.arrived[:3])
        self.seen = table.arrived.row.size
        first, last = start // self.length, (start + length) // self.length
        spans = last - first
        window = np.arange(spans.sum()) + np.repeat(first - (np.cumsum(spans) - spans), spans)
        fresh = np.stack([table.number.values[np.repeat(place, spans)], window * self.length], 1)
        self.waiting = np.concatenate([self.waiting, fresh])
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken

    def snapshot(self) -> dict[str, Any]:
        return {"seen": self.seen, "waiting": torch.from_numpy(self.waiting.copy())}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen, self.waiting = state["seen"], state["waiting"].numpy().copy()
