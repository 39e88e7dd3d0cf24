"""Which folders are runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.evaluation.study import find


def test_runs_that_were_started_over_are_not_counted_again(make: Any, tmp_path: Path) -> None:
    make("a")
    make("a.old-1")
    (tmp_path / "runs" / "study" / "report").mkdir()
    assert [run.folder.name for run in find.runs([tmp_path / "runs" / "study"])] == ["a"]


def test_a_run_that_is_named_twice_is_read_once(make: Any, tmp_path: Path) -> None:
    one = make("a")
    assert len(find.runs([tmp_path / "runs" / "study", one])) == 1


def test_studies_of_the_same_name_are_told_apart(make: Any, tmp_path: Path) -> None:
    make("a", study="x/study")
    make("a", study="y/study")
    studies = [tmp_path / "runs" / name / "study" for name in "xy"]
    assert [run.study for run in find.runs(studies)] == ["x/study", "y/study"]


def test_a_folder_of_studies_names_them(make: Any, tmp_path: Path) -> None:
    make("a")
    with pytest.raises(ConfigError, match="give one of its studies: study"):
        find.runs([tmp_path / "runs"])


def test_an_empty_or_unknown_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no runs"):
        find.runs([tmp_path])
    with pytest.raises(ConfigError, match="does not exist"):
        find.runs([tmp_path / "nowhere"])


def test_a_study_is_not_a_run(make: Any, tmp_path: Path) -> None:
    make("a")
    with pytest.raises(ConfigError, match="not a run folder; it holds 1 runs, such as a"):
        find.demand_run(tmp_path / "runs" / "study")
