"""Published scores, of reference.csv, that make returns of different games comparable.

Atari: random play is 0, a human tester is 1. The table of Wang et al. (2016), which extends that of Mnih et al. (2015)
to 57 games, as it is used for the human-normalised score since: episodes of at most 108,000 frames that begin with up
to 30 idle frames, without sticky actions. Runs with sticky actions, as Machado et al. (2018) advise, are commonly put
on this scale all the same.

Procgen: (return - minimum) / (maximum - minimum) with the constants of Cobbe et al. (2020), appendix C.

MinAtar and other worlds have no such table: their returns stay as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reference:
    """A scale on which `low` is 0 and `high` is 1."""

    low: float
    high: float
    name: str

    def __call__(self, score: float) -> float:
        return (score - self.low) / (self.high - self.low)


def reference(env: Mapping[str, Any] | None) -> Reference | None:
    """The scale of the world that this part of a config describes; None where nobody published one."""
    target, game = str((env or {}).get("_target_", "")), str((env or {}).get("game", ""))
    if target.endswith(".atari.Atari"):
        bare = game.lower().replace("_", "").replace("-", "")
        found = {name.replace("_", ""): bounds for name, bounds in published("atari").items()}.get(bare)
        return Reference(*found, "human-normalised") if found else None
    mode = (env or {}).get("mode")
    if target.endswith(".procgen.Procgen"):
        found = published(f"procgen {mode}").get(game)
        return Reference(*found, f"min-max-normalised ({mode})") if found else None
    return None


@cache
def published(scale: str) -> dict[str, tuple[float, float]]:
    """Low and high by game: `atari`, `procgen easy` or `procgen hard`; nothing for others."""
    with Path(__file__).with_name("reference.csv").open(newline="") as file:
        return {
            row["game"]: (float(row["low"]), float(row["high"]))
            for row in csv.DictReader(file)
            if row["scale"] == scale
        }
