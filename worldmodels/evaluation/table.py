"""Rows on disk that a resumed run can rewind: metrics.csv and evaluation.jsonl."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, float | int | str | bool | None]


class CsvTable:
    """A CSV file whose columns may grow; every row has `updates`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []

    def rewind(self, updates: int) -> None:
        """Forget rows after that update, and any line that a crash cut short."""
        rows = read_csv(self.path)
        self.columns = list(rows[0]) if rows else []
        self._replace([row for row in rows if row["updates"] <= updates])

    def append(self, row: Row) -> None:
        new = [name for name in row if name not in self.columns]
        if new:
            rows = read_csv(self.path)
            self.columns += new
            self._replace(rows)
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([_cell(row.get(name)) for name in self.columns])

    def _replace(self, rows: Sequence[Row]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        passing = self.path.with_suffix(".tmp")
        with passing.open("w", newline="") as file:
            writer = csv.writer(file)
            if self.columns:
                writer.writerow(self.columns)
            writer.writerows([_cell(row.get(name)) for name in self.columns] for row in rows)
        passing.replace(self.path)


class JsonTable:
    """One JSON object per line; every one has `updates`. A rewind drops those that are `final`, too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, updates: int) -> None:
        rows = [row for row in read_json(self.path) if row["updates"] <= updates and not row.get("final")]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        passing = self.path.with_suffix(".tmp")
        passing.write_text("".join(json.dumps(row) + "\n" for row in rows))
        passing.replace(self.path)

    def append(self, row: Row) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_csv(path: Path) -> list[dict[str, float]]:
    """Rows as numbers, NaN where a cell is empty; a last line that a crash cut short is left out."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        lines = list(csv.reader(line for line in file if line.endswith("\n")))
    header = lines[0] if lines else []
    return [
        {name: float(cell) if cell else float("nan") for name, cell in zip(header, line, strict=True)}
        for line in lines[1:]
        if len(line) == len(header)
    ]


def read_json(path: Path) -> list[dict[str, Any]]:
    """Rows; a last line that a crash cut short is left out."""
    if not path.is_file():
        return []
    with path.open() as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def others(row: Mapping[str, Any]) -> list[str]:
    """Names of those that `Play.compare` scored beside the policy."""
    return [key.removeprefix("return_mean/") for key in row if key.startswith("return_mean/")]


def _cell(value: int | float | str | None) -> str:
    """Six digits are enough to plot, and hide the order in which a resumed run summed its window."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else f"{value:.6g}"
    return str(value)
