"""Runs are started again where they were, and put away without losing any."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.data.lock import Lock
from worldmodels.launch.jobs import keeping, roster, table
from worldmodels.launch.status import Status, enqueue, process_start, running


def study(folder: Path, **states: str) -> Path:
    for name, state in states.items():
        live = {"host": socket.gethostname(), "pid": os.getpid(), "pid_started": process_start(os.getpid())}
        more = live if state == "running" else {}
        Status(state, (f"seed={name}",), launcher="gpu_queue", **more).write(folder / name)  # type: ignore[arg-type]
    return folder


def test_failed_and_killed_runs_are_started_again_by_their_own_words(tmp_path: Path) -> None:
    study(tmp_path, a="done", b="failed", c="killed", d="running")
    words = keeping.again(tmp_path, roster.runs(tmp_path), None)
    listed = next(word for word in words if word.startswith("hydra.sweeper.words=")).partition("=")[2]
    assert json.loads(Path(listed).read_text()) == [["seed=b"], ["seed=c"]]
    assert "hydra/launcher=gpu_queue" in words


def test_a_run_that_waits_without_a_sweep_is_said_so_and_started_again(tmp_path: Path) -> None:
    study(tmp_path, a="queued")
    assert "no sweep is at work" in table.remarks(roster.runs(tmp_path))[0]
    words = keeping.again(tmp_path, roster.runs(tmp_path), None)
    assert json.loads((tmp_path / ".again.json").read_text()) == [["seed=a"]]
    lock = Lock(tmp_path / roster.SWEEP)
    try:
        assert table.remarks(roster.runs(tmp_path)) == []
        with pytest.raises(ConfigError, match="no failed or killed run"):
            keeping.again(tmp_path, roster.runs(tmp_path), None)
    finally:
        lock.release()
    assert "hydra/launcher=gpu_queue" in words


def test_studies_within_studies_are_listed_by_the_names_that_they_were_given(tmp_path: Path) -> None:
    for place in ("a", "b/c", "b/c/d", "e/archive"):
        study(tmp_path / place, one="done")
    (tmp_path / "a" / "one" / "inner" / "two").mkdir(parents=True)
    Status("done").write(tmp_path / "a" / "one" / "inner" / "two")  # what lies in a run is the run's own
    assert roster.studies(tmp_path) == {name: tmp_path / name for name in ("a", "b/c", "b/c/d")}
    assert [str(each) for each in table.of_studies(roster.studies(tmp_path)).columns[0].cells] == ["a", "b/c", "b/c/d"]
    with pytest.raises(ConfigError, match="did you mean b/c"):
        roster.study(tmp_path, "b/cc")


def test_a_run_that_waits_again_shows_how_its_last_attempt_ended(tmp_path: Path) -> None:
    with running(tmp_path / "a", ["seed=1"]) as ending:
        Status.read(tmp_path / "a")
        ending.stopped(15)
    ended = Status.read(tmp_path / "a")
    assert ended is not None
    replace(ended, last={"updates": 40.0, "progress": 0.4}).write(tmp_path / "a")
    enqueue(tmp_path / "a", ["seed=1"], "submitit_local")
    (line,) = table.remarks(roster.runs(tmp_path))
    assert line.startswith("queued")
    assert "before: stopped by a signal" in line
    row = [next(iter(column.cells)) for column in table.of_runs(roster.runs(tmp_path)).columns]
    assert (row[2], row[4]) == ("40%", "40")


def test_nothing_to_start_again_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no failed or killed run"):
        keeping.again(tmp_path, roster.runs(study(tmp_path, a="done")), None)


def test_the_archive_takes_what_is_over_and_leaves_the_living(tmp_path: Path) -> None:
    study(tmp_path, a="done", b="failed", c="running", d="queued")
    keeping.archive(tmp_path, roster.runs(tmp_path))
    assert sorted(path.name for path in (tmp_path / "archive").iterdir()) == ["a", "b"]
    assert [run.name for run in roster.runs(tmp_path)] == ["c", "d"]


def test_the_archive_overwrites_nothing(tmp_path: Path) -> None:
    for text in ("first", "second"):
        (study(tmp_path, a="done") / "a" / "note").write_text(text)
        keeping.archive(tmp_path, roster.runs(tmp_path))
    kept = {path.parent.name: path.read_text() for path in (tmp_path / "archive").glob("*/note")}
    assert kept == {"a": "first", "a.2": "second"}


def test_a_run_is_found_by_words_that_no_other_has(tmp_path: Path) -> None:
    study(tmp_path, **{"lr=0.1,seed=1": "done", "lr=0.1,seed=10": "done", "lr=0.2,seed=1": "done"})
    assert [run.name for run in roster.choose(tmp_path, "seed=1 lr=0.1")] == ["lr=0.1,seed=1"]
    assert [run.name for run in roster.choose(tmp_path, "seed=10")] == ["lr=0.1,seed=10"]
    with pytest.raises(ConfigError, match="2 runs"):
        roster.choose(tmp_path, "seed=1")
    with pytest.raises(ConfigError, match="no runs"):
        roster.choose(tmp_path, "seed=7")


def test_a_run_whose_name_was_cut_is_found_by_the_words_that_the_status_shows(tmp_path: Path) -> None:
    for seed in (1, 10):
        words = ("budget={updates:2,env_steps:null}", "data.warmup=64", f"seed={seed}")
        Status("killed", words).write(tmp_path / f"budget=-updates-2-{seed:08d}")
    for text in ("seed=1", "data.warmup=64 seed=1", "warmup=64 seed=1", "budget={updates:2,env_steps:null} seed=1"):
        assert [run.name for run in roster.choose(tmp_path, text)] == ["budget=-updates-2-00000001"], text
