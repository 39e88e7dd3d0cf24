"""Options that change what weights say, but not their shapes: another activation, other bins, another discount."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldmodels.core.errors import ConfigError
from worldmodels.launch.folder import flat
from worldmodels.launch.json_list import word
from worldmodels.launch.modules import within

# Of which module an option is, where its name does not say it.
PLACES = {"recurrence": "rssm"}
VALUES = ("critic", "heads.value", "heads.q", "advantage")  # what tells returns, in one stage or another
LEARNED = {"contdisc": ("heads.cont",), "clip_rewards": ("heads.reward", *VALUES), "discount": VALUES}
BEHAVIOUR = ("actor", "critic")  # of a stage: they learn whatever is frozen
IDLE = ("_target_", "_partial_", "init", "out_scale")  # of first weights, or of nothing


@dataclass(frozen=True)
class Change:
    """One option of another run and of this one; `module` has learned by it, or the whole model where it is empty."""

    module: str
    theirs: str
    ours: str


def demand(
    folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any], names: Sequence[str], weights: Collection[str]
) -> list[str]:
    """What should be known of weights that fit; ConfigError if they mean something else and can not learn it.

    names: modules that are taken over. weights: names of all that the stage has.
    """
    found = [each for each in _changes(theirs, ours, weights) if _among(each.module, names)]
    if not found:
        return []
    before, now = (" ".join(dict.fromkeys(sides)) for sides in zip(*((x.theirs, x.ours) for x in found), strict=True))
    told = f"{folder} was trained with {before}, and here it is {now}"
    stuck = [each.theirs for each in found if _frozen(each.module, names, ours)]
    if stuck:
        raise ConfigError(
            f"{told}: the weights fit, but mean something else, and what is frozen can not learn it",
            "frozen weights in a model that uses them as they were trained",
            f"set {' '.join(stuck)}, or freeze nothing that depends on it",
        )
    return [f"{told}: the weights fit, but begin with another meaning"]


def _changes(theirs: Mapping[str, Any], ours: Mapping[str, Any], weights: Collection[str]) -> Iterator[Change]:
    there, here = flat(theirs), flat(ours)
    for key, value in here.items():
        path = key.split(".")
        if path[-1] in IDLE or key not in there or there[key] == value:
            continue
        if path[0] == "model":
            yield Change(_module(path[1], weights), f"{key}={word(there[key])}", f"{key}={word(value)}")
        elif path[0] == "stage":
            of = (path[1],) if path[1] in BEHAVIOUR else LEARNED.get(path[-1], ())
            for module in (each for each in of if within(weights, each)):
                yield Change(module, f"{key}={word(there[key])}", f"{key}={word(value)}")


def _module(option: str, weights: Collection[str]) -> str:
    known = (PLACES.get(option, option), f"heads.{option}")
    return next((name for name in known if within(weights, name)), "")


def _among(module: str, names: Sequence[str]) -> bool:
    """Whether a module, a part of it, or what it is a part of, is taken over."""
    return not module or any(
        f"{name}.".startswith(f"{module}.") or f"{module}.".startswith(f"{name}.") for name in names
    )


def _frozen(module: str, names: Sequence[str], config: Mapping[str, Any]) -> bool:
    stage: Any = config["stage"]
    if module in BEHAVIOUR:
        return False
    if stage.get("model_updates") == 0:
        return True
    return any(_among(each, [module] if module else names) for each in stage.get("freeze") or [])
