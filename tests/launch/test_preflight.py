"""What a person is told before hours are spent."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from worldmodels.core.spec import ArraySpec
from worldmodels.env.minatar import MinAtar
from worldmodels.launch import preflight as module
from worldmodels.launch.preflight import GIB, Preflight, preflight, store_bytes, weights_bytes

SPEC = MinAtar("breakout").spec()


def config(**changes: Any) -> dict[str, Any]:
    plan = {
        "trainer": {"accelerator": "cpu"},
        "env": {"game": "breakout"},
        "data": {"warmup": 1000, "steps_per_update": 2.0},
        "budget": {"updates": 500, "env_steps": None, "hours": None},
    }
    return {**plan, **changes}


def told(folder: Path, **changes: Any) -> Preflight:
    return preflight(config(**changes), nn.Linear(10, 10), SPEC, folder / "not" / "there")


def test_nothing_is_warned_of_where_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert told(tmp_path).warnings == []


def test_an_idle_gpu_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (warning,) = told(tmp_path).warnings
    assert "a GPU is present" in warning
    assert "trainer=gpu" in warning
    assert told(tmp_path).lines[0].startswith("device   CPU")


def test_too_small_a_disk_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(GIB, GIB, 1000))
    (warning,) = told(tmp_path).warnings
    assert "paths.runs" in warning


def test_episodes_are_counted_in_bytes() -> None:
    per_step = 10 * 10 * 4 // 8 + 8 + 4 + 2  # planes as bits, action, reward, two flags
    assert store_bytes(config(), SPEC) == (1000 + 500 * 2) * per_step
    limited = {"updates": None, "env_steps": 300, "hours": None}
    assert store_bytes(config(budget=limited), SPEC) == 300 * per_step
    assert store_bytes(config(env=None), SPEC) == 0
    pieces = config(data={"warmup": 1000, "steps_per_update": 2.0, "piece": 8})
    assert store_bytes(pieces, SPEC) == (1000 + 500 * 2) * per_step * 9 // 8, "a piece has a row more than steps"


def test_beliefs_are_counted_twice_as_each_may_lie_in_two_places() -> None:
    kept = [ArraySpec((2048,), "float16"), ArraySpec((32,), "uint8")]
    assert store_bytes(config(), SPEC, kept) - store_bytes(config(), SPEC) == 2000 * 2 * (4096 + 32)


def test_weights_are_counted_with_gradient_and_moments() -> None:
    stage = nn.Linear(10, 10)
    stage.register_buffer("slow", torch.zeros(5))
    assert weights_bytes(stage) == 4 * 110 * 4 + 5 * 4
