"""Run folders as training leaves them, made in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from worldmodels.evaluation.status import Status
from worldmodels.evaluation.table import CsvTable, JsonTable

Make = Callable[..., Path]
MINATAR = {"_target_": "worldmodels.env.minatar.MinAtar", "game": "breakout", "sticky": 0.1}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that makes the folder of one run, in the study `study` if no other is named."""

    def one(
        name: str,
        seed: int = 0,
        score: float | None = 1.0,
        *,
        study: str = "study",
        lr: float = 0.001,
        env: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        state: Any = "done",
        words: Sequence[str] = (),
        commit: str = "a" * 40,
        diff: str = "",
        episodes: int = 20,
        steps: int = 1000,
        began: str = "2026-01-01T00:00:00+00:00",
    ) -> Path:
        folder = tmp_path / "runs" / study / name
        folder.mkdir(parents=True)
        tree = {
            "seed": seed,
            "study": study,
            "threads": 1,
            "budget": {"updates": 100},
            "env": {**(env or MINATAR)},
            "stage": {"_target_": "worldmodels.stage.dqn.DQN", "lr": lr},
            "callback": {"score": {"seed": seed, "every": 1}},
            "evaluation": {"episodes": 20, "seed": seed},
            **(config or {}),
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(tree))
        Status(state, tuple(words), attempt=1).write(folder)
        session = {"time": began, "commit": commit, "dirty": bool(diff), "diff": diff, "versions": {"torch": "2.11"}}
        (folder / "provenance.json").write_text(json.dumps({"sessions": [session]}))
        _write_curves(folder, score or 0.0, steps)
        if state == "done" and score is not None:
            _write_result(folder, score, steps, episodes)
        return folder

    return one


def _write_curves(folder: Path, score: float, steps: int) -> None:
    table, scores = CsvTable(folder / "metrics.csv"), JsonTable(folder / "evaluation.jsonl")
    table.rewind(0)
    for n in range(1, 11):
        at = {"env_steps": n * steps // 10, "updates": n * 10}
        table.append({**at, "seconds": n * 6.0, "return": score * n / 10, "loss/total": 1 / n})
        if n % 2 == 0:
            scores.append({**at, "final": False, "episodes": 10, "return_mean": score * n / 10})


def _write_result(folder: Path, score: float, steps: int, episodes: int) -> None:
    result = {
        "budget": {"updates": 100},
        "env_steps": steps,
        "updates": 100,
        "minutes": 1.0,
        "updates_per_second": 100.0,
        "episodes": episodes,
        "return_mean": score,
        "return_std": 1.0,
        "return_stderr": 0.1,
        "return_min": score - 1,
        "return_max": score + 1,
        "length_mean": 30.0,
        "cut": 0,
    }
    (folder / "done.json").write_text(json.dumps(result))
    row = {name: value for name, value in result.items() if name != "budget"}
    JsonTable(folder / "evaluation.jsonl").append({**row, "final": True})
