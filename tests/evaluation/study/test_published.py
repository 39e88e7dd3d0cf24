"""Curves of a study in files of their own: as numbers, and as drawings that need no page."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from worldmodels.evaluation.study.report import report


@pytest.fixture
def study(make: Any, tmp_path: Path) -> Path:
    """Two seeds of one group, and one of another."""
    make("a0", 0, 1.0)
    make("a1", 1, 3.0)
    make("b0", 0, 10.0, lr=0.01)
    return tmp_path / "runs" / "study"


def points(study: Path, group: str, curve: str, axis: str) -> list[dict[str, str]]:
    with (study / "report" / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if (row["group"], row["curve"], row["axis"]) == (group, curve, axis)]


def test_curves_are_means_over_seeds_at_the_moments_of_evaluations(study: Path) -> None:
    report([study])
    found = points(study, "stage.lr=0.001", "evaluated", "env_steps")
    # Evaluations are at a fifth, two fifths ... of a thousand steps, and worth as much of the score; the last is final.
    assert [float(row["x"]) for row in found][:4] == [200, 400, 600, 800]
    assert [float(row["mean"]) for row in found][:4] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert {(row["runs"], row["environment"]) for row in found} == {("2", "breakout")}
    assert [float(row["low"]) for row in found][:2] == pytest.approx([0.2, 0.4])
    assert [float(row["high"]) for row in found][:2] == pytest.approx([0.6, 1.2])
    assert [row["x"] for row in points(study, "stage.lr=0.001", "evaluated", "updates")][:2] == ["20.0", "40.0"]


def test_a_curve_of_one_run_has_no_interval(study: Path) -> None:
    report([study])
    found = points(study, "stage.lr=0.01", "trained", "minutes")
    assert len(found) == 10
    assert {(row["low"], row["high"]) for row in found} == {("", "")}


def test_a_drawing_stands_alone_with_a_legend_in_colours_of_its_own(study: Path) -> None:
    made = report([study])
    drawn = study / "report" / "figures" / "breakout-evaluated.svg"
    assert drawn in made.files
    text = drawn.read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    words = re.findall(r">([^<>\n]+)</text>", text)
    assert {"stage.lr=0.001", "stage.lr=0.01", "env steps"} <= set(words)
    assert "breakout: return, evaluated without exploration" in words
    assert "var(" not in text
    assert {"#2b6cb0", "#c05621"} <= set(re.findall(r"#\w{6}", text)), "groups have the colours of the page by day"


def test_drawings_of_an_earlier_report_go_when_it_is_replaced(study: Path) -> None:
    report([study])
    stale = study / "report" / "figures" / "gone-evaluated.svg"
    stale.write_text("<svg/>")
    assert stale not in report([study]).files
    assert not stale.exists()
