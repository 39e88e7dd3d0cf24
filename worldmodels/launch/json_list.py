"""The original sweep tool's list of runs, a JSON list of flat objects, and its way into Hydra's words.

[{"seed": 0, "env.game": "breakout"}, {"seed": 1, "env.game": "asterix"}]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from json.decoder import scanstring  # pyright: ignore[reportAttributeAccessIssue] (typeshed leaves it out)
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from worldmodels.core.errors import ConfigError

EXAMPLE = '[{"+experiment": "dqn_minatar", "seed": 0}, {"+experiment": "dqn_minatar", "seed": 1}]'
_SPACE = re.compile(r"[ \t\n\r]*")
_KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@/:-]*")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*")  # read by Hydra as the text that it is...
_TAKEN = re.compile(r"(true|false|null|nan|inf|infinity|none|~)", re.IGNORECASE)  # ...but for these


@dataclass(frozen=True)
class Item:
    """One run of the list. lines: where each key stands in the file, counted from 1."""

    values: dict[str, Any]
    line: int
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        return words(self.values)


def read(path: str | Path) -> list[Item]:
    """All runs of a file; ConfigError with the line and the key of what can not be one."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", f"a JSON list of objects, such as {EXAMPLE}", "write it")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text: {error}", "a JSON file in UTF-8", "save it as one") from error
    return _Reader(path, text).items()


def words(values: Mapping[str, Any]) -> list[str]:
    """One override for each key."""
    return [f"{key}={word(value)}" for key, value in values.items()]


def word(value: Any) -> str:
    """A value as Hydra's grammar reads it back: the same value of the same type. `${...}` in a text is resolved."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and not _TAKEN.fullmatch(value) else _quoted(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(word(each) for each in value)}]"
    raise TypeError(f"{value!r} can not be written as an override")


def _quoted(text: str) -> str:
    """In single quotes; backslashes mean themselves unless a quote follows, where each is doubled."""
    escaped = re.sub(r"(\\*)'", lambda found: found.group(1) * 2 + r"\'", text)
    closing = re.search(r"\\*$", escaped)
    return f"'{escaped}{closing.group() if closing else ''}'"


class _Reader:
    """Reads a list of flat objects and remembers the lines."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text, self.at = path, text, 0

    def items(self) -> list[Item]:
        found: list[Item] = []
        if not self._next("["):
            self._refuse("something other than a list", "a list of objects", f"write {EXAMPLE}")
        while not self._next("]"):
            if found:
                self._comma("]")
            found.append(self._item())
        if self.at < len(self.text):
            self._refuse("more text after the list", "nothing", "remove it")
        if not found:
            self._refuse("an empty list", "at least one object", f"write {EXAMPLE}")
        return found

    def _item(self) -> Item:
        item = Item({}, self._line())
        if not self._next("{"):
            self._refuse("something other than an object", 'an object in braces, {"key": value}', "correct it")
        while not self._next("}"):
            if item.values:
                self._comma("}")
            line, key = self._line(), self._key()
            if key in item.values:
                self._refuse("the key again", f"each key once; it stands in line {item.lines[key]}", "remove one", key)
            item.values[key], item.lines[key] = self._value(key), line
        return item

    def _key(self) -> str:
        if not self.text.startswith('"', self.at):
            self._refuse(f"{self._here()} where a key should begin", 'a key in double quotes, "a.b"', "correct it")
        key = self._json(lambda: scanstring(self.text, self.at + 1), None)
        if not _KEY.fullmatch(key):
            self._refuse(f"{key!r}", "a dotted option such as stage.lr", "correct the key", key)
        if not self._next(":"):
            self._refuse(f"{self._here()} after the key", "a colon", 'write "key": value', key)
        return key

    def _value(self, key: str) -> Any:
        line = self._line()
        value = self._json(lambda: json.JSONDecoder().raw_decode(self.text, self.at), key)
        self._skip()
        for each in _leaves(value):
            if isinstance(each, dict):
                do = f"write its keys with dots, such as {key}.<name>"
                self._refuse(
                    "an object as value", "a number, a text, true, false, null, or a list of them", do, key, line
                )
            if isinstance(each, float) and not isfinite(each):
                self._refuse(f"{each}", "a number that is finite", "correct it", key, line)
            if isinstance(each, str) and "\n" in each:
                self._refuse("a text of several lines", "one line", "correct it", key, line)
        return value

    def _json(self, decode: Callable[[], tuple[Any, int]], key: str | None) -> Any:
        try:
            value, self.at = decode()
        except json.JSONDecodeError as error:
            self.at = min(error.pos, len(self.text))
            what = f"{error.msg[0].lower()}{error.msg[1:]}, at {self._here()}"
            self._refuse(what, "JSON", "correct it; texts take double quotes, and words are true, false, null", key)
        self._skip()
        return value

    def _comma(self, end: str) -> None:
        if not self._next(","):
            self._refuse(f"{self._here()}", f"a comma or {end}", "correct it")
        if self.text.startswith(end, self.at):
            self._refuse(f"a comma before {end}", "no comma after the last entry", "remove it")

    def _next(self, sign: str) -> bool:
        """Step over a sign and the space around it, if it comes next."""
        self._skip()
        if not self.text.startswith(sign, self.at):
            return False
        self.at += 1
        self._skip()
        return True

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _here(self) -> str:
        return repr(self.text[self.at : self.at + 12]) if self.at < len(self.text) else "the end of the file"

    def _refuse(self, what: str, expected: str, do: str, key: str | None = None, line: int | None = None) -> NoReturn:
        place = f"{self.path}, line {line or self._line()}" + (f", key {key!r}" if key is not None else "")
        raise ConfigError(f"{place}: {what}", expected, do)


def _leaves(value: Any) -> list[Any]:
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, list) else [value]


def demand(path: str | Path, item: Item, config: Mapping[str, Any]) -> None:
    """ConfigError if a value is of another kind than the one that the config has there, or has no place in it.

    config: as plain data, composed with the groups that the item chooses. Keys that choose groups or add options, and
    options that are null so far, take anything.
    """
    for key, value in item.values.items():
        if key[:1] in "+~" or "/" in key or "@" in key:
            continue
        known, before = _find(config, key.split("."))
        place = f"{path}, line {item.lines.get(key, item.line)}, key {key!r}"
        if not known:
            do = f'correct the key; what the config lacks is added as "+{key}"'
            raise ConfigError(f"{place}: there is no such option", "an option of the config", do)
        if isinstance(before, dict) or before is None or value is None:
            continue
        if _kind(value) != _kind(before):
            raise ConfigError(
                f"{place}: {value!r} is {_kind(value)}", f"{_kind(before)}, as {before!r} is", "correct it"
            )


def _find(tree: Any, path: list[str]) -> tuple[bool, Any]:
    for name in path:
        if not isinstance(tree, Mapping) or name not in tree:
            return False, None
        tree = tree[name]
    return True, tree


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "a text"
