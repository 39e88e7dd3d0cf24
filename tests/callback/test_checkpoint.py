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


def run(place: Path, *words: str) -> Folder:
    words = (*DQN, f"paths.runs={place}", *words)
    return train(config("train", words), words).folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return run(tmp_path_factory.mktemp("runs"), "budget.updates=16")


def kept(folder: Folder) -> dict[str, object]:
    return {path.name: torch.load(path, weights_only=True) for path in folder.last.parent.glob("update_*")}


def test_steps_are_doubled() -> None:
    assert [n for n in range(1, 2000) if is_step(n, 100)] == [100, 200, 400, 800, 1600]
    assert [n for n in range(1, 20) if is_step(n, 1)] == [1, 2, 4, 8, 16]


def test_the_same_checkpoints_are_kept_however_often_a_run_is_interrupted(whole: Folder, tmp_path: Path) -> None:
    for updates in (5, 16):
        parts = run(tmp_path, "name=parts", f"budget.updates={updates}")
    assert sorted(kept(whole)) == [f"update_{n:08d}.ckpt" for n in (2, 4, 8, 16)]
    assert_same(kept(whole), kept(parts))


def test_a_kept_checkpoint_is_of_its_moment_and_can_be_loaded(whole: Folder) -> None:
    last, same = (worldmodels.load(whole.path, name) for name in ("last", "update_00000016"))
    assert_same(dict(last.stage.state_dict()), dict(same.stage.state_dict()))
    early = worldmodels.load(whole.path, "update_00000002")
    assert any(not torch.equal(a, b) for a, b in zip(early.stage.parameters(), last.stage.parameters(), strict=True))
    assert same.play(2, seed=1).returns == last.play(2, seed=1).returns
    with pytest.raises(ConfigError, match=r"last, update_00000002, update_00000004, update_00000008"):
        worldmodels.load(whole.path, "update_00000003")
