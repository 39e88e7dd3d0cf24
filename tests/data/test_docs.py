"""docs/data.md: its Python is executed, in its order and in one folder, and its example of an index is the real one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_on_data_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record, read, plain, mixed = blocks("python")
    names: dict[str, Any] = {}
    exec(record, names)
    exec(mixed, dict(names))
    first = (tmp_path / "episodes" / "index.jsonl").read_text().splitlines()[0]
    assert first == blocks("json")[0].replace("\n", "")

    exec(read, names)
    store, episodes = names["store"], names["store"].episodes
    assert (episodes.length[episodes.number.tolist().index(4)], len(store)) == (6, 8)

    without: dict[str, Any] = {}
    exec(plain, without)
    assert sorted(without["rows"]) == sorted(episodes.number.tolist())
    for number, rows in without["rows"].items():
        np.testing.assert_array_equal(without["grid"][rows], store[number].obs["grid"])
        np.testing.assert_array_equal(without["reward"][rows[:-1]], store[number].reward)


def test_the_plain_reader_understands_imports_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record, read, plain, _ = blocks("python")
    names: dict[str, Any] = {}
    exec(record, names)
    exec(read, names)
    source = names["store"]
    with names["EpisodeStore"].create("copy", source.spec) as copy:
        copy.extend([source[number] for number in source.episodes.number.tolist()])
    assert (
        json.loads((tmp_path / "copy" / "index.jsonl").read_text().splitlines()[0].rpartition(" ")[0])["lane"] is None
    )
    exec(plain.replace("episodes/", "copy/"), names)
    for number, rows in names["rows"].items():
        np.testing.assert_array_equal(names["grid"][rows], source[number].obs["grid"])
