"""Names of runs by the rules of the original sweep tool, byte for byte. `safe` names are those of `folder.run_name`.

They leave out every key that is not in the list, and round the learning rate, so that runs of different options may
get the same name. Whoever uses them must refuse that, and not share a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worldmodels.core.errors import ConfigError


def seed_name(values: Mapping[str, Any]) -> str:
    """The folder's name for options as plain data; ConfigError for values that the original could not name either."""
    parts = []
    for key, rule in _RULES:
        if key in values and (part := rule(values[key])) is not None:
            parts.append(part)
    return "_".join(parts)


def seed_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of many runs; ConfigError if two are the same, or one is empty."""
    names = [seed_name(values) for values in rows]
    do = "style=safe names runs after all their options"
    for number, name in enumerate(names):
        if not name:
            raise ConfigError(f"entry {number + 1} gets an empty name from style=seed", "a key that it names", do)
        if name in names[:number]:
            found = f"entries {names.index(name) + 1} and {number + 1} get the same name from style=seed: {name}"
            raise ConfigError(found, "names that differ", do)
    return names


def _after(prefix: str) -> Callable[[Any], str]:
    return lambda value: f"{prefix}_{value}"


def _bypass(value: Any) -> str | None:
    return "no_dino" if value else None  # the text "false" is true, too


def _rate(value: Any) -> str:
    """One digit of it, `5e-7`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"training.bisim_lr={value!r}", "a number", "write it without quotes")
    return f"lr_{value:.0e}".replace("e-0", "e-")


def _bare(value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"env={value!r}", "a text, for style=seed", "write it in quotes")
    return value


_RULES: list[tuple[str, Callable[[Any], str | None]]] = [
    ("bisim_latent_dim", _after("bisim")),
    ("bisim_hidden_dim", _after("hidden")),
    ("model.bypass_dinov2", _bypass),
    ("bisim_coef", _after("coef")),
    ("training.bisim_lr", _rate),
    ("var_loss_coef", _after("varloss_coef")),
    ("num_pcs", _after("numpcs")),
    ("VC_target", _after("vctarget")),
    ("PCA1_loss_target", _after("pca1target")),
    ("PCAloss_epoch", _after("pcaepoch")),
    ("env", _bare),
    ("frameskip", _after("fs")),
    ("num_hist", _after("hist")),
    ("training.epochs", _after("epochs")),
]
