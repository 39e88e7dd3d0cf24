"""One recording judges every run's world model, learning or not, and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import assert_same_run

from worldmodels.callback.judge import judged
from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.evaluation.table import read_json
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config, make
from worldmodels.launch.folder import Folder
from worldmodels.launch.record import record
from worldmodels.launch.train import train

TINY = ["norm=layer", "encoder.units=8", "encoder.layers=1", "encoder.grid=mlp"]
TINY += [f"recurrence.{size}" for size in ("deter=8", "gru=dv2", "stoch=2", "classes=4", "hidden=8")]
WORDS = ["env=dummy", "env.game=dot", "env.zoom=0", "stage=dreamer", "data=replay", *(f"model.{each}" for each in TINY)]
WORDS += ["data.warmup=64", "data.width=2", "data.updates=2", "data.sampler.length=4", "data.sampler.batch=2"]
WORDS += ["evaluation.episodes=2", "evaluation.limit=20", "callback.film=null", "callback.score=null"]
WORDS += ["callback.judge.every=2", "callback.judge.length=4", "callback.judge.batch=4", "callback.judge.batches=2"]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = tmp_path_factory.mktemp("recordings") / "dot"
    record(config("record", ["env=dummy", "env.game=dot", "env.zoom=0", "width=4", "steps=200", f"store={store}"]))
    return f"callback.judge.store={store}"


def run(*words: str) -> Folder:
    return train(config("train", [*WORDS, *words])).folder


def rows(folder: Folder) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name != "took_seconds"}
        for row in read_json(folder.path / "judged.jsonl")
    ]


def test_it_judges_before_the_first_update_and_then_at_its_own_pace(recording: str) -> None:
    told = rows(run(recording, "name=a", "budget.updates=4"))
    assert [row["updates"] for row in told] == [0, 2, 4]
    assert [row["env_steps"] for row in told] == [0, 72, 80]
    for row in told:
        parts = [value for name, value in row.items() if name.startswith("loss/") and name != "loss/total"]
        assert row["loss/total"] == pytest.approx(sum(parts), rel=1e-5)
    assert len({row["loss/total"] for row in told}) == 3


def test_rewards_are_judged_as_they_are_learned(recording: str) -> None:
    words = [*WORDS, "model.reward.head=mse", recording]
    told = {}
    for how in ("null", "tanh"):
        cfg = config("train", [*words, f"stage.loss.clip_rewards={how}"])
        stage = build_stage(cfg, make(cfg.env).spec())
        judge = make(cfg.callback.judge)
        judge.demand(stage)
        windows = judge.windows
        if how == "null":
            windows = [replace(batch, reward=torch.tanh(batch.reward)) for batch in windows]
            assert any(batch.reward.any() for batch in windows)
        told[how] = judged(stage, windows)
    assert told["null"] == told["tanh"]


def test_a_model_that_does_not_learn_is_judged_alike_at_all_times(recording: str) -> None:
    told = rows(run(recording, "name=a", "budget.updates=4", "stage.model_updates=0"))
    assert len({row["loss/total"] for row in told}) == 1
    assert told[0] == rows(run(recording, "name=b", "budget.updates=2"))[0], "the same windows, the same weights"


def test_judging_changes_nothing_and_a_resumed_run_is_judged_as_a_whole_one(recording: str) -> None:
    whole = run(recording, "name=whole", "budget.updates=4")
    alone = run("name=alone", "budget.updates=4")
    assert_same_run(whole.path, alone.path)
    assert not rows(alone)
    run(recording, "name=cut", "budget.updates=2")
    assert rows(run(recording, "name=cut", "budget.updates=4")) == rows(whole)


def test_a_recording_that_is_none_or_of_another_world_is_refused_before_anything_is_kept() -> None:
    record(config("record", ["env=dummy", "width=2", "steps=40", "store=other"]))
    record(config("record", ["env=dummy", "env.game=dot", "env.zoom=0", "width=1", "steps=3", "store=short"]))
    for store, error, told in (
        ("nowhere", ConfigError, r"callback\.judge\.store=nowhere"),
        ("other", SpecError, r"(?s)callback\.judge\.store=other .*obs\['.*do: .*callback\.judge\.store=null"),
        ("short", ConfigError, r"(?s)holds 3 steps.*at least the 4 of a window.*set callback\.judge\.length"),
    ):
        with pytest.raises(error, match=told):
            run(f"callback.judge.store={store}", "name=a", "budget.updates=2")
        kept = {path.name for path in Path("runs").rglob("*") if path.is_file()}
        assert kept <= {".lock", "status.json"}, "the name is left to the next try"
    run("name=a", "budget.updates=2")


def test_a_stage_without_a_world_model_is_not_judged_and_any_recording_will_do(recording: str) -> None:
    words = ["+experiment=ppo_minatar", "env=dummy", "env.game=bandit", "paths.run=runs/a", recording]
    cfg = config("train", words)
    judge = make(cfg.callback.judge)
    judge.demand(build_stage(cfg, make(cfg.env).spec()))
    assert not judge.windows
