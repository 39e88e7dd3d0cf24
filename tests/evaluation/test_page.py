"""The report page needs nothing but itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pages import assert_self_contained, assert_well_formed

from worldmodels.evaluation.figures import smooth
from worldmodels.evaluation.page import write_page
from worldmodels.evaluation.table import CsvTable, JsonTable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "study" / "seed=0,x=<b>"
    (folder / "films").mkdir(parents=True)
    table = CsvTable(folder / "metrics.csv")
    table.rewind(0)
    for n in range(1, 60):
        row = {
            "env_steps": n * 10,
            "updates": n,
            "seconds": float(n),
            "return": n / 3,
            "loss/total": 1 / n,
            "entropy": 0.5,
        }
        table.append(row)
    scores = {
        "episodes": 5,
        "return_mean": 1.5,
        "return_std": 1.0,
        "return_stderr": 0.4,
        "return_min": 0.0,
        "return_max": 3.0,
    }
    JsonTable(folder / "evaluation.jsonl").append(
        {"env_steps": 590, "updates": 59, **scores, "length_mean": 9.0, "final": True}
    )
    (folder / "done.json").write_text(
        json.dumps({**scores, "env_steps": 590, "updates": 59, "minutes": 1.0, "updates_per_second": 2.0})
    )
    (folder / "config.yaml").write_text(
        "seed: 0\nenv: {_target_: a.b.World, game: maze}\nstage: {_target_: c.Learner}\n"
    )
    (folder / "provenance.json").write_text(
        json.dumps({"resume": "exact", "sessions": [{"time": "2026-01-01T00:00:00", "command": "<script>"}]})
    )
    (folder / "films" / "00000059.gif").write_bytes(b"GIF89a")
    rows = [{"horizon": h, "windows": 4, "mse/obs/open": h / 10, "mse/obs/copy": None} for h in range(1, 5)]
    (folder / "films" / "00000059.json").write_text(json.dumps({"rows": rows}))
    return folder


def test_the_page_asks_for_nothing_else(folder: Path) -> None:
    assert_self_contained(write_page(folder).read_text())


def test_the_page_is_well_formed_and_shows_every_part(folder: Path) -> None:
    text = write_page(folder).read_text()
    assert_well_formed(text)
    for words in (
        "Learner on World maze",
        "1.50",
        "Return",
        "Losses",
        "Imagination",
        "Error by horizon",
        "Evaluations",
    ):
        assert words in text


def test_parts_that_are_missing_are_left_out(folder: Path) -> None:
    for name in ("metrics.csv", "evaluation.jsonl", "done.json", "provenance.json", "films/00000059.gif"):
        (folder / name).unlink()
    text = write_page(folder).read_text()
    assert "Config" in text
    assert "open-loop film" not in text
    assert "Error by horizon" in text  # as of a model without a decoder
    (folder / "films/00000059.json").unlink()
    assert "Imagination" not in write_page(folder).read_text()


def test_smoothing_keeps_the_ends_and_a_constant() -> None:
    import numpy as np

    assert smooth(np.full(100, 3.0)) == pytest.approx(np.full(100, 3.0))
    assert smooth(np.arange(100.0))[50] == pytest.approx(50)
