"""The original's JSON list: refused with line and key, or turned into words that Hydra reads back unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import given, settings
from hypothesis import strategies as st

from worldmodels.core.errors import ConfigError
from worldmodels.launch.json_list import Item, demand, read, words

PARSER = OverridesParser.create()
TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12) | st.text(
    "\\'\"${}[](),=: atrue1.", max_size=8
)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUE = SCALAR | st.lists(SCALAR | st.lists(SCALAR, max_size=3), max_size=4)


def file(folder: Path, text: str) -> Path:
    path = folder / "list.json"
    path.write_text(text, encoding="utf-8")
    return path


def back(value: Any) -> Any:
    if isinstance(value, list):
        return [back(each) for each in value]
    return value.text if isinstance(value, QuotedString) else value


@settings(max_examples=300, deadline=None)
@given(VALUE)
def test_hydra_reads_back_the_same_value_of_the_same_type(value: Any) -> None:
    (word,) = words({"stage.x": value})
    found = back(PARSER.parse_override(word).value())
    assert (found, repr(found)) == (value, repr(value))


def test_plain_texts_stay_bare_so_that_folders_are_named_well() -> None:
    assert words(
        {"env": "minatar", "env.game": "space_invaders", "a": None, "b": False, "c": 1e-4, "d": [1, "x,y"]}
    ) == [
        *("env=minatar", "env.game=space_invaders", "a=null", "b=false", "c=0.0001", "d=[1,'x,y']"),
    ]
    assert words({"a": "true", "b": "1e-4", "c": "null", "d": ""}) == ["a='true'", "b='1e-4'", "c='null'", "d=''"]


def test_a_list_is_read_with_the_lines_of_its_keys(tmp_path: Path) -> None:
    first, second = read(file(tmp_path, '[{"seed": 1,\n  "env.game":\n"x"},\n\n {"seed": 2}]\n'))
    assert (first.values, first.lines) == ({"seed": 1, "env.game": "x"}, {"seed": 1, "env.game": 2})
    assert (second.values, second.line) == ({"seed": 2}, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: something other than a list"),
        ('{"seed": 1}', "line 1: something other than a list"),
        ("[]", "line 1: an empty list"),
        ("[1]", "line 1: something other than an object"),
        ('[{"seed": 1}\n {"seed": 2}]', "line 2: '{"),
        ('[{"seed": 1,}]', "line 1: a comma before }"),
        ('[{"seed": 1},\n]', "line 2: a comma before ]"),
        ('[{"seed": 1}', "line 1: the end of the file"),
        ('[{"seed": 1}] x', "line 1: more text after"),
        ('[{\n"a": 1,\n"seed": }]', "line 3, key 'seed': expecting value"),
        ('[{\n"a": True}]', "line 2, key 'a': expecting value, at 'True"),
        ("[{'a': 1}]", "line 1: \"'a': 1}]\" where a key"),
        ('[{"a" 1}]', "line 1, key 'a': '1}]' after the key"),
        ('[{"a": 1,\n"b": 2,\n"a": 3}]', "line 3, key 'a': the key again"),
        ('[{"a": {"b": 1}}]', "line 1, key 'a': an object as value"),
        ('[{"a": [1, {"b": 1}]}]', "line 1, key 'a': an object as value"),
        ('[{"a": NaN}]', "line 1, key 'a': nan"),
        ('[{"a": -Infinity}]', "line 1, key 'a': -inf"),
        ('[{"a": "x\\ny"}]', "line 1, key 'a': a text of several lines"),
        ('[{"a": "open}]', "line 1, key 'a': unterminated string"),
        ('[{"a b": 1}]', "line 1, key 'a b'"),
        ('[{"": 1}]', "line 1, key ''"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(file(tmp_path, text))
    assert words in str(refused.value)


def test_a_missing_file_is_told_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)there is no file .*none\.json.*\[\{"):
        read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seed": "abc"}, "'abc' is a text.*a number, as 0 is"),
        ({"seed": True}, "True is true or false.*a number"),
        ({"stage.deep": 1}, "1 is a number.*true or false"),
        ({"stage.sizes": 3}, "3 is a number.*a list"),
        ({"stage.lrr": 1}, "there is no such option"),
        ({"sed.x": 1}, "there is no such option"),
    ],
)
def test_a_value_of_another_kind_than_the_config_s_is_told_with_its_line_and_key(
    values: dict[str, Any], words: str
) -> None:
    config = {"seed": 0, "stage": {"lr": 1e-3, "deep": True, "sizes": [1], "what": None}}
    key = next(iter(values))
    with pytest.raises(ConfigError, match=f"(?s)list.json, line 7, key '{key}': {words}"):
        demand("list.json", Item(values, 5, {key: 7}), config)


def test_groups_new_options_and_those_that_were_null_take_anything() -> None:
    config = {"seed": 0, "stage": {"lr": 1e-3, "what": None}, "env": {"game": "x"}}
    item = Item({"stage.lr": 1, "stage.what": "x", "env": "atari", "+new.one": [1], "stage": None}, 1)
    demand("list.json", item, config)
