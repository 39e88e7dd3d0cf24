"""Integer clocks that can be saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worldmodels.core.errors import ConfigError


@dataclass
class Every:
    """True whenever a multiple of `period` was reached or passed since the last call, however large the strides."""

    period: int
    seen: int = 0

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ConfigError(f"a period of {self.period}", "at least 1", "leave the clock out to switch it off")

    def __call__(self, now: int) -> bool:
        due = now // self.period > self.seen // self.period
        self.seen = now
        return due

    def snapshot(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = int(state["seen"])
