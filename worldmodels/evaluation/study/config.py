"""What makes two runs the same experiment: their configs, apart from seeds and from how they were watched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Parts of a config that do not change what is learned or how it is scored.
NONE = "\N{EN DASH}"  # in a table, where there is nothing
SEEDED = "seed"  # in a path, instead of seed=<that of the run>
WATCHING = ("force", "threads", "study", "name", "logger", "paths", "callback")


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key. Empty mappings and lists are leaves."""
    if isinstance(tree, Mapping) and tree:
        return {key: leaf for name, value in tree.items() for key, leaf in flat(value, f"{prefix}{name}.").items()}
    return {prefix.removesuffix("."): tree}


def method(config: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves that a group of runs shares: neither the world nor a seed."""
    worldly = world(config)
    return {
        key: _unseeded(value, config)
        for key, value in config.items()
        if key not in worldly and not watching(key) and not _of_seed(key, value, config)
    }


def world(config: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves that describe the environment or, where nothing acts, the recording that is learned from."""
    part = {key: value for key, value in config.items() if key.startswith("env.")}
    return part or {key: _unseeded(config[key], config) for key in ("env", "data.store") if key in config}


def watching(key: str) -> bool:
    return key.split(".")[0] in WATCHING


def label(part: Mapping[str, Any]) -> str:
    """A world's short name: its game, id or level, or else its class, or the recording's folder."""
    if part.get("data.store"):
        parts = Path(str(part["data.store"])).parts
        return next((name for name in reversed(parts) if name not in ("episodes", SEEDED)), parts[-1])
    named = next((str(part[f"env.{key}"]) for key in ("game", "id", "level") if part.get(f"env.{key}")), "")
    return named or str(part.get("env._target_") or "").rpartition(".")[2]


def labels(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of different worlds; those that would share one also tell in what they differ."""
    names = [label(part) for part in parts]
    for name in {each for each in names if names.count(each) > 1}:
        alike = [part for part, each in zip(parts, names, strict=True) if each == name]
        keys = varying(alike)
        for at, part in enumerate(parts):
            if names[at] == name:
                names[at] = " ".join([name, *(f"{key.rpartition('.')[2]}={part.get(key, NONE)}" for key in keys)])
    return names


def varying(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values are not the same in all of them, in order."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({repr(config.get(key, ...)) for config in configs}) > 1]


def short(key: str) -> str:
    """The end of a dotted key, with what it belongs to."""
    return ".".join(key.split(".")[-2:])


def _unseeded(value: Any, config: Mapping[str, Any]) -> Any:
    """A path to another run or recording of the same seed, as that of any seed."""
    if not isinstance(value, str) or "seed" not in config:
        return value
    return re.sub(rf"(?<![\w.])seed={config['seed']}(?![\w.])", SEEDED, value)


def _of_seed(key: str, value: Any, config: Mapping[str, Any]) -> bool:
    """The run's seed, and every part's own that follows it."""
    return key == "seed" or (key.endswith(".seed") and value == config.get("seed"))
