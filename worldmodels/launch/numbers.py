"""Numbers and switches that a user types, checked before anything begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from worldmodels.core.errors import ConfigError
from worldmodels.launch.arguments import examine
from worldmodels.launch.folder import check_place


class Range(NamedTuple):
    """At least `low`; `whole` numbers only, or any; None only where it is `optional`."""

    low: float
    whole: bool = True
    optional: bool = False


TRAIN = {
    "seed": Range(0),
    "threads": Range(1, optional=True),
    "budget.updates": Range(1, optional=True),
    "budget.env_steps": Range(1, optional=True),
    "budget.hours": Range(0, whole=False, optional=True),
    "evaluation.episodes": Range(1),
}
RECORD = {
    "seed": Range(0),
    "threads": Range(1, optional=True),
    "steps": Range(1, optional=True),
    "episodes": Range(1, optional=True),
    "prefill": Range(0),
    "width": Range(1),
    "workers": Range(0),
    "piece": Range(1, optional=True),
}
ANALYSE = {"seed": Range(0), "frames": Range(1)}

SWITCHES = ("force", "explore", "play")
PLACES = ("paths.runs", "paths.recordings")
LATE = ("paths.run",)  # set at launch


def demand(cfg: DictConfig, ranges: Mapping[str, Range]) -> None:
    """ConfigError for the first option that is no number in its range, or of another type than its constructor takes.

    Options that the config lacks are passed.
    """
    examine(cfg, late=LATE)
    missing = object()
    for key in SWITCHES:
        if not isinstance(value := OmegaConf.select(cfg, key, default=True), bool):
            raise ConfigError(f"{key}={value}", "true or false", f"set {key} to one of them")
    for key in PLACES:
        if not isinstance(value := OmegaConf.select(cfg, key, default="any"), str):
            raise ConfigError(f"{key}={'null' if value is None else value}", "a folder", f"set {key} to a path")
    check_place(cfg.get("study", "any"), cfg.get("name"))
    for key, allowed in ranges.items():
        value = OmegaConf.select(cfg, key, default=missing)
        if value is missing or (value is None and allowed.optional):
            continue
        kind = int if allowed.whole else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or value < allowed.low:
            what = "a whole number" if allowed.whole else "a number"
            rest = ", or null" if allowed.optional else ""
            raise ConfigError(
                f"{key}={value}", f"{what} of at least {allowed.low:g}{rest}", f"set {key} to such a number"
            )
