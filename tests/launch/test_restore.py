"""A run folder back to an agent that acts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import worldmodels
from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.launch.compose import config
from worldmodels.launch.restore import Run
from worldmodels.launch.train import train

WORDS = [
    *("env=dummy", "stage=dqn", "stage.target.every=10", "data.width=2", "data.warmup=64", "data.updates=20"),
    *("data.piece=8", "data.sampler.length=1", "data.sampler.batch=8", "data.steps_per_update=2", "budget.updates=40"),
    *("evaluation.episodes=4", "callback.checkpoint.pause=0", "callback.score.every=1", "callback.score.episodes=2"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = [*WORDS, f"paths.runs={runs}"]
    return train(config("train", words), words).folder.path


@pytest.fixture
def run(folder: Path) -> Run:
    return worldmodels.load(folder)


def test_a_restored_run_has_the_weights_of_its_checkpoint(run: Run, folder: Path) -> None:
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, weight in run.stage.state_dict().items():
        assert torch.equal(weight, kept[name])


def test_the_same_evaluation_gives_the_same_returns(run: Run) -> None:
    assert run.play(4, seed=3) == run.play(4, seed=3)


def test_an_agent_acts_through_the_ends_of_episodes(run: Run) -> None:
    env, agent = run.env(width=3), run.agent(width=3)
    moment, ended = env.reset([0, 1, 2]), 0
    for _ in range(80):
        moment = env.step(agent(moment))
        ended += int((moment.terminated | moment.truncated).sum())
    env.close()
    assert ended >= 3


def test_an_agent_tells_its_policy_where_episodes_begin(run: Run) -> None:
    seen: list[np.ndarray] = []
    agent = run.agent(width=2)
    act = agent.policy.act
    agent.policy.act = lambda obs, first, *rest, **more: (seen.append(first), act(obs, first, *rest, **more))[1]  # type: ignore[method-assign]
    env = run.env(width=2)
    moment = env.reset([0, 1])
    for _ in range(40):
        moment = env.step(agent(moment))
    env.close()
    assert seen[0].all()
    assert not seen[1].any()
    assert any(first.any() for first in seen[2:])


def test_restoring_leaves_the_global_generator_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    worldmodels.load(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_a_moved_run_folder_still_loads(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in folder.rglob("*"):
        if path.is_file():
            target = moved / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert worldmodels.load(moved, "best").result is not None


def test_an_unknown_checkpoint_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="one of best, last"):
        worldmodels.load(folder, "latest")


def test_a_policy_refuses_a_world_of_other_shapes(run: Run) -> None:
    from worldmodels.env.dummy import Dummy

    with pytest.raises(SpecError, match="differs from"):
        run.demand(Dummy("dot").spec())


def test_an_option_that_was_renamed_since_is_told_with_its_file_and_its_new_name(folder: Path, tmp_path: Path) -> None:
    old = shutil.copytree(folder, tmp_path / "old")
    text = (old / "config.yaml").read_text()
    (old / "config.yaml").write_text(text.replace("n_step:", "nstep:"))
    with pytest.raises(ConfigError, match=r"old.config\.yaml: stage\.nstep") as told:
        worldmodels.load(old)
    assert "did you mean n_step" in told.value.expected
