"""Sweeps of real runs on this machine, by submitit and by joblib: disturbed, and given again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sweeps import end, start, sweep, until


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def statuses() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(Path("runs/train").glob("*/status.json"))]


@pytest.mark.parametrize("launcher", ["submitit_local", "joblib"])
def test_finished_runs_are_skipped_and_failed_ones_go_on(launcher: str, tmp_path: Path) -> None:
    there = tmp_path / "there"
    words = [f"hydra/launcher={launcher}", f"stage.needs=null,{there}", "seed=1,2"]
    words += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    code, told = sweep(words)
    assert code == 1, told
    assert "2 of 4 runs finished" in told
    assert f"FileNotFoundError: {there} is missing" in told
    assert sorted(each["state"] for each in statuses()) == ["done", "done", "failed", "failed"]
    there.touch()
    code, told = sweep(words)
    assert code == 0, told
    assert "4 of 4 runs finished" in told
    assert sorted(each["attempt"] for each in statuses()) == [1, 1, 2, 2]


def test_ctrl_c_lets_local_runs_save_themselves_and_leaves_no_process() -> None:
    words = ["hydra/launcher=submitit_local", "stage.nap=0.3", "name=a,b"]
    process = start(words)
    until(lambda: len([each for each in statuses() if each["last"].get("updates")]) == 2)
    pids = [each["pid"] for each in statuses()]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, told = end(process)
    assert code == 130, told
    assert [each["state"] for each in statuses()] == ["killed", "killed"]
    assert all(Path(f"runs/train/{name}/checkpoints/last.ckpt").exists() for name in "ab")
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_local_runs_outlive_a_killed_sweep_and_are_found_again() -> None:
    words = ["hydra/launcher=submitit_local", "stage.nap=0.2", "name=a,b"]
    process = start(words)
    until(lambda: len([each for each in statuses() if each["last"].get("updates")]) == 2)
    process.kill()
    process.wait()
    code, told = sweep(words)
    assert code == 0, told
    assert "2 jobs" in told
    assert "they are not submitted again" in told
    assert [each["attempt"] for each in statuses()] == [1, 1]
