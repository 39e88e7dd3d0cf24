"""A stage's weights by the names that a user types: modules as `worldmodels count` prints them, and parts of those.

A module is the first part of a weight's name that is not a wrapper, so `encoder` is `model.encoder` of any stage that
has a world model, and `heads.reward` is `model.heads.reward`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.launch.count import WRAPPERS
from worldmodels.launch.near import near

APART = ("heads",)  # modules whose parts are of use alone; half a recurrence is not
Weights = Mapping[str, Tensor]


def modules(weights: Iterable[str]) -> list[str]:
    """Names of all modules, in the order of their weights."""
    return list(dict.fromkeys(_told(key).partition(".")[0] for key in weights))


def within(weights: Iterable[str], name: str) -> dict[str, str]:
    """Keys of the weights of a module, or of a part of one, by their names in it; empty if there are none."""
    told = {_told(key): key for key in weights}
    loose = {"": told[name]} if name in told and "." not in name else {}  # what a stage itself owns
    return loose | {short.removeprefix(f"{name}."): key for short, key in told.items() if short.startswith(f"{name}.")}


def tensors(weights: Weights, name: str) -> dict[str, Tensor]:
    """The weights of a module, or of a part of one, by their names in it."""
    return {short: weights[key] for short, key in within(weights, name).items()}


def chosen(asked: Sequence[str] | None, stage: nn.Module) -> list[str]:
    """Modules and parts of them; `model` and its like stand for all that they hold, and are meant if nothing is said.

    ConfigError for a name that the stage does not have.
    """
    weights = stage.state_dict()
    here, inner = modules(weights), _parts(weights)
    wrapped = {
        name: modules(f"{name}.{key}" for key in part.state_dict())
        for name in WRAPPERS
        if isinstance(part := getattr(stage, name, None), nn.Module)
    }
    known = [*here, *(name for name in wrapped if name not in here)]
    for name in wrapped if asked is None else asked:
        if name not in known and name not in inner:
            some = "heads.reward" if "heads.reward" in inner else next(iter(inner), None)
            such = f", or parts of those, such as {some}" if some else ""
            alike = [each for each in inner if "." in name and each.count(".") == name.count(".")]
            raise ConfigError(
                f"init.modules: {type(stage).__name__} has no module {name!r}",
                f"some of {', '.join(known)}{such}{near(name, alike, known)}",
                f"correct it; all of them are init.modules=[{','.join(here)}]",
            )
    names = [each for name in (wrapped if asked is None else asked) for each in wrapped.get(name, [name])]
    return [name for name in dict.fromkeys(names) if not any(name.startswith(f"{whole}.") for whole in names)]


def others(weights: Iterable[str], names: Sequence[str]) -> list[str]:
    """Modules that are not among the named ones; of a module with named parts, its other parts."""
    found: list[str] = []
    for key in weights:
        paths = _paths(_told(key))
        if not any(path in names for path in paths):
            found.append(next(path for path in paths if not any(name.startswith(f"{path}.") for name in names)))
    return list(dict.fromkeys(found))


def parts(weights: Iterable[str], module: str) -> list[str]:
    """Names of the parts of a module that are of use alone; none for most."""
    if module not in APART:
        return []
    return [name for name in _parts(weights) if name.rpartition(".")[0] == module]


def _told(key: str) -> str:
    """`model.encoder.net.0.weight` as `encoder.net.0.weight`. What a wrapper itself owns is of the wrapper."""
    names = key.split(".")
    while len(names) > 2 and names[0] in WRAPPERS:
        names = names[1:]
    return ".".join(names)


def _paths(told: str) -> list[str]:
    """`heads`, `heads.reward`, ... `heads.reward.mlp.0.weight`."""
    return list(accumulate(told.split("."), "{}.{}".format))


def _parts(weights: Iterable[str]) -> list[str]:
    """Parts of modules by their names, without tensors."""
    return list(dict.fromkeys(path for key in weights for path in _paths(_told(key))[1:-1]))
