"""Rows that can be rewound."""

from __future__ import annotations

from pathlib import Path

from worldmodels.evaluation.table import CsvTable, JsonTable, read_csv, read_json


def test_columns_may_grow_and_old_rows_stay(tmp_path: Path) -> None:
    table = CsvTable(tmp_path / "t.csv")
    table.rewind(0)
    table.append({"updates": 1, "a": 0.5})
    table.append({"updates": 2, "b": 3})
    table.append({"updates": 3, "a": 0.25, "b": 4})
    rows = read_csv(table.path)
    assert [row["updates"] for row in rows] == [1, 2, 3]
    assert rows[0]["a"] == 0.5
    assert rows[0]["b"] != rows[0]["b"]
    assert rows[2] == {"updates": 3, "a": 0.25, "b": 4}


def test_rewinding_drops_later_rows_and_half_lines(tmp_path: Path) -> None:
    table = CsvTable(tmp_path / "t.csv")
    table.rewind(0)
    for updates in (1, 2, 3):
        table.append({"updates": updates, "a": updates * 10})
    with table.path.open("a") as file:
        file.write("4,4")
    again = CsvTable(table.path)
    again.rewind(2)
    again.append({"updates": 3, "a": 31})
    assert [(row["updates"], row["a"]) for row in read_csv(table.path)] == [(1, 10), (2, 20), (3, 31)]


def test_rewinding_lines_drops_the_final_one(tmp_path: Path) -> None:
    table = JsonTable(tmp_path / "t.jsonl")
    for updates, final in ((1, False), (2, False), (2, True)):
        table.append({"updates": updates, "final": final})
    with table.path.open("a") as file:
        file.write('{"updates"')
    table.rewind(2)
    assert [row["final"] for row in read_json(table.path)] == [False, False]
