"""Checkpoints that are kept on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import assert_same

import worldmodels
from worldmodels.callback.checkpoint import is_step
from worldmodels.core.errors import ConfigError
from worldmodels.launch.compose import config
from worldmodels.launch.folder import Folder
from worldmodels.launch.train import train

DQN = [
    *("env=dummy", "stage=dqn", "data.width=2", "data.warmup=64", "data.piece=8", "data.sampler.length=1"),
    *("data.sampler.batch=8", "data.steps_per_update=4", "evaluation.episodes=2", "~callback.score", "data.updates=3"),
    *("callback.checkpoint.keep=geometric", "callback.checkpoint.first=2", "callback.checkpoint.pause=0"),
]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Folder:
    words = (*DQN, *words)
    return train(config("train", words), words).folder


def kept(folder: Folder) -> dict[str, object]:
    return {path.name: torch.load(path, weights_only=True) for path in folder.last.parent.glob("update_*")}


def test_steps_are_doubled() -> None:
    assert [n for n in range(1, 2000) if is_step(n, 100)] == [100, 200, 400, 800, 1600]
    assert [n for n in range(1, 20) if is_step(n, 1)] == [1, 2, 4, 8, 16]


def test_the_same_checkpoints_are_kept_however_often_a_run_is_interrupted() -> None:
    whole = run("name=whole", "budget.updates=17")
    for updates in (5, 17):
        parts = run("name=parts", f"budget.updates={updates}")
    assert sorted(kept(whole)) == [f"update_{n:08d}.ckpt" for n in (2, 4, 8, 16)]
    assert_same(kept(whole), kept(parts))


def test_a_kept_checkpoint_is_of_its_moment_and_can_be_loaded() -> None:
    folder = run("name=a", "budget.updates=8")
    last, same = (worldmodels.load(folder.path, name) for name in ("last", "update_00000008"))
    assert_same(dict(last.stage.state_dict()), dict(same.stage.state_dict()))
    early = worldmodels.load(folder.path, "update_00000002")
    assert any(not torch.equal(a, b) for a, b in zip(early.stage.parameters(), last.stage.parameters(), strict=True))
    assert same.play(2, seed=1).returns == last.play(2, seed=1).returns
    with pytest.raises(ConfigError, match=r"last, update_00000002, update_00000004, update_00000008"):
        worldmodels.load(folder.path, "update_00000003")
