"""Type hints against plain data, as YAML has it, and in words."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from worldmodels.core.options import Bound

SIMPLE: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    None: ((types.NoneType,), "null"),
    types.NoneType: ((types.NoneType,), "null"),
}
MAPPINGS = (dict, Mapping)
ROWS = (list, tuple, Sequence)


def members(hint: Any) -> tuple[Any, ...]:
    """Of a union, or the type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type. What another config makes, and types that are not known here, fit."""
    if hint in (Any, object, inspect.Parameter.empty) or isinstance(hint, str | TypeVar):
        return True
    if isinstance(value, dict) and "_target_" in value:
        return True
    return any(_fits(value, member) for member in members(hint))


def _fits(value: Any, hint: Any) -> bool:
    if hint in SIMPLE:
        kinds = SIMPLE[hint][0]
        return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        bounds = [each for each in arguments[1:] if isinstance(each, Bound)]
        return fits(value, arguments[0]) and all(each.holds(value) for each in bounds)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in arguments)
    if origin in MAPPINGS:
        entry = (*arguments, Any, Any)[1]
        return isinstance(value, dict) and all(fits(each, entry) for each in value.values())
    if origin in ROWS:
        return isinstance(value, list) and _row(value, arguments, fixed=origin is tuple)
    return (
        isinstance(value, str)
        if _path(origin)
        else not isinstance(value, bool | int | float | str | list | dict | None)
    )


def _row(value: list[Any], arguments: tuple[Any, ...], *, fixed: bool) -> bool:
    """A list against the types of its entries: one for all, or one for each where a tuple says so."""
    if fixed and arguments and arguments[-1] is not ...:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    return all(fits(each, (*arguments, Any)[0]) for each in value)


def _path(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, PurePath)


def told(hint: Any) -> str:
    """A type in words."""
    return " or ".join(dict.fromkeys(map(_told, members(hint))))


def _told(hint: Any) -> str:
    if hint in SIMPLE:
        return SIMPLE[hint][1]
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return " ".join([told(arguments[0]), *(str(each) for each in arguments[1:] if isinstance(each, Bound))])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in MAPPINGS:
        return "options in braces, such as {a: 1}"
    if origin in ROWS:
        return f"a list, such as {'[a, b]' if str in arguments else '[1, 2]'}"
    if _path(origin):
        return "a path"
    name = getattr(origin, "__name__", str(hint))
    return "a config with a _target_" + ("" if origin is Callable else f" that makes {article(name)}")


def article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
