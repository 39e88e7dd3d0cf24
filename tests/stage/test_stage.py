"""What a stage says to data that it can not learn from, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldmodels import command
from worldmodels.launch.compose import config


@pytest.mark.parametrize(
    ("stage", "data", "model", "env"),
    [
        ("ppo", "Rollout", False, True),
        ("dqn", "Replay", False, True),
        ("dreamer", "Replay", True, True),
        ("world_model", "Segment", True, False),
    ],
)
def test_a_stage_chooses_the_data_that_it_learns_from(stage: str, data: str, model: bool, env: bool) -> None:
    cfg = config("train", [f"stage={stage}"])
    assert cfg.data["_target_"].endswith(f".{data}")
    assert (cfg.get("model") is not None, cfg.get("env") is not None) == (model, env)


def test_a_dreamer_learns_from_episodes_that_are_shorter_than_its_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [
        "model.recurrence.deter=16",
        "model.recurrence.hidden=16",
        "data.sampler.batch=2",
        "data.warmup=200",
        "data.width=4",
        "budget.updates=1",
    ]
    words = ["stage=dreamer", "env=dummy", "env.time_limit=7", *small, "evaluation.episodes=1", "callback.score=null"]
    assert command.main(["train", *words, "data.updates=1"]) == 0


def test_the_command_line_has_the_last_word_on_data() -> None:
    cfg = config("train", ["stage=world_model", "data=replay", "env=dummy"])
    assert cfg.data["_target_"].endswith(".Replay")
    assert cfg.env["_target_"].endswith(".Dummy")


@pytest.mark.parametrize(
    ("words", "found", "do"),
    [
        (["stage=ppo", "data=replay"], "PPO can not learn from data=replay", "set data=rollout"),
        (["stage=dqn", "data=rollout"], "DQN can not learn from data=rollout", "set data=replay or data=segment"),
        (["stage=world_model", "data=replay", "env=dummy"], "WorldModel can not learn from", "set data=segment"),
        (["stage=dqn"], "windows of 64 steps that lie whole inside", "data.sampler.length=1 data.sampler.pad=true"),
        (["stage=dqn", "stage.n_step=3", "data.sampler.length=2", "data.sampler.pad=true"], "n_step=3", "length=3"),
    ],
)
def test_a_stage_refuses_what_it_can_not_learn_from_before_a_world_lives(
    words: list[str],
    found: str,
    do: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["train", "env=dummy", *words]) == 2
    error = capsys.readouterr().err
    assert found in error
    assert f"do: {do}" in error or do in error.partition("do: ")[2]
    assert not list(tmp_path.rglob("episodes"))


def test_what_a_refusal_tells_to_add_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["stage=dqn", "data.sampler.length=1", "data.sampler.pad=true", "data.sampler.batch=64"]
    quick = ["env=dummy", "data.updates=2", "budget.updates=2", "evaluation.episodes=1", "data.warmup=64"]
    assert command.main(["train", *words, *quick]) == 0
