"""A config against the constructors that it names: every option's type is what the code says it is.

Types are looked at here before anything is made, and numbers where a constructor declares their bounds; what else can
be wrong, constructors say.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args, get_origin

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from worldmodels.core.errors import ConfigError
from worldmodels.core.options import Options
from worldmodels.launch.hints import MAPPINGS, fits, members, told
from worldmodels.launch.near import near

logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it would say on its own what we raise or pass over

# What a text that is no type here raises when it is evaluated.
UNKNOWN = (NameError, AttributeError, SyntaxError, TypeError)


def examine(cfg: DictConfig, late: Collection[str] = ()) -> None:
    """ConfigError for the first option, in this config or below, of another type than what takes it declares.

    `late` are options that get their value later.
    """
    if OmegaConf.is_missing(cfg, "_target_"):
        return
    target = _located(cfg) if "_target_" in cfg else None
    hints = _hints(target) if target is not None else None
    if hints is not None:
        _check_names(cfg, hints, str(cfg["_target_"]))
    for name, key, value in _items(cfg):
        if hints is not None and not name.startswith("_") and key not in late:
            _check(key, value, hints.get(name, Any))
        for part in value if isinstance(value, ListConfig) else (value,):
            if isinstance(part, DictConfig):
                examine(part, late)


def _items(cfg: DictConfig) -> Iterator[tuple[str, str, Any]]:
    """Name, key as a user would type it, and value, of each option that has one."""
    for name in cfg:
        if not OmegaConf.is_missing(cfg, name):
            yield str(name), _source(cfg, str(name)), _value(cfg, str(name))


def _source(cfg: DictConfig, name: str) -> str:
    """The key of an option; where it only points at another option, that one's."""
    key = str(cfg._get_full_key(name))
    pointer = re.fullmatch(r"\$\{(\w[\w.]*)\}", _raw(cfg, name))
    if pointer is None:
        return key
    return pointer[1]


def _raw(cfg: DictConfig, name: str) -> str:
    node = cfg._get_node(name)
    return str(node._value()) if OmegaConf.is_interpolation(cfg, name) and node is not None else ""  # type: ignore[union-attr]


def _value(cfg: DictConfig, name: str) -> Any:
    try:
        return cfg[name]
    except InterpolationKeyError:
        raw = _raw(cfg, name)
        wanted = raw.strip("${}")
        raise ConfigError(
            f"{cfg._get_full_key(name)} is {raw}, but there is no {wanted}",
            f"a value for {wanted}, since what was chosen needs it",
            f"set {wanted}=..., or choose something that does without",
        ) from None


def _located(cfg: DictConfig) -> Callable[..., Any] | None:
    """What `_target_` names; None where it can not be imported or called, which whoever makes it will tell."""
    target = cfg["_target_"]
    if not isinstance(target, str):
        raise ConfigError(
            f"{cfg._get_full_key('_target_')}={_typed(target)}",
            "the import path of a class or function",
            "correct it; what may be left out altogether is set to null as a whole",
        )
    try:
        found = get_object(target)
    except ImportError:
        return None
    return found if callable(found) else None


def _hints(target: Callable[..., Any]) -> dict[str, Any] | None:
    """Types of the arguments by name; None if it takes any, or does not say."""
    try:
        signature = inspect.signature(target, eval_str=True)
    except UNKNOWN:  # a type that is imported for type checkers alone, which says nothing about the others
        signature = inspect.signature(target)
    except ValueError:  # a builtin without a signature
        return None
    parameters = signature.parameters.values()
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return None
    scope = _scope(target)
    return {parameter.name: _evaluated(parameter.annotation, scope) for parameter in parameters}


def _scope(target: Callable[..., Any]) -> dict[str, Any]:
    """Names that the annotations of a function, or of a class's constructor, were written with."""
    function = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)
    return getattr(function, "__globals__", {})


def _evaluated(hint: Any, scope: dict[str, Any]) -> Any:
    """The type that a text means; the text itself where that is not known here."""
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, scope)
    except UNKNOWN:
        return hint


def _check_names(cfg: DictConfig, hints: Mapping[str, Any], target: str) -> None:
    for name in cfg:
        if not str(name).startswith("_") and name not in hints:
            key, known = cfg._get_full_key(name), [each for each in hints if each != "spec"]
            raise ConfigError(
                f"{key}: {target} takes no {str(name)!r}",
                f"one of {', '.join(known)}{near(str(name), known)}" if known else "no options",
                f"correct the name, since its keys are the constructor's arguments; {_unset(cfg, key)}",
            )


def _unset(cfg: DictConfig, key: str) -> str:
    """What to do if it was not typed: an arm without its options would be another one under the same name."""
    root: Any = cfg._get_root()
    arm = root.get("arm")
    if arm is None or not key.startswith("stage."):
        return f"if an experiment sets it, leave it out with ~{key}"
    return f"if arm={arm} sets it, that arm is for other stages, so choose another arm"


def _check(key: str, value: Any, hint: Any) -> None:
    """Look into mappings for the entry that is wrong, and into those that are arguments of something."""
    if isinstance(value, DictConfig) and "_target_" not in value:
        for member in members(hint):
            if options := next((each for each in get_args(member)[1:] if isinstance(each, Options)), None):
                return _check_options(value, options)
            if get_origin(member) in MAPPINGS:
                entry = (*get_args(member), Any, Any)[1]
                for _, inner, each in _items(value):
                    _check(inner, each, entry)
                return None
    if not fits(_plain(value), hint):
        raise _wrong(key, _plain(value), hint)
    return None


def _check_options(value: DictConfig, options: Options) -> None:
    hints = _hints(options.of)
    if hints is None:
        return
    _check_names(value, hints, getattr(options.of, "__qualname__", str(options.of)))
    for name, key, each in _items(value):
        _check(key, each, hints[name])


def _wrong(key: str, value: Any, hint: Any) -> ConfigError:
    do = f"give {key} such a value"
    if isinstance(value, float) and value.is_integer() and fits(int(value), hint):
        do = f"write {key}={int(value)}"
    elif not isinstance(value, str | dict | list) and value is not None and fits("", hint):
        do = f"if you mean the text, quote it twice: \"{key}='{value}'\""
    return ConfigError(f"{key}={_typed(value)}", told(hint), do)


def _typed(value: Any) -> str:
    """As on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
