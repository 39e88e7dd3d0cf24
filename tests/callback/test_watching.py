"""Callbacks that look at a run while it learns: they see what they say, and change nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from runs import assert_same_run

from worldmodels.evaluation.table import read_csv, read_json
from worldmodels.launch.compose import config
from worldmodels.launch.folder import Folder
from worldmodels.launch.record import record
from worldmodels.launch.train import train

EPOCHS = ["data.updates=3", "budget.updates=6", "callback.meter.every=3", "callback.checkpoint.pause=0"]
DQN = [
    *("env=dummy", "stage=dqn", "data.width=2", "data.warmup=64", "data.piece=8", "data.sampler.length=1"),
    *("data.sampler.batch=8", "data.steps_per_update=4", "evaluation.episodes=2", "callback.score.episodes=3", *EPOCHS),
]
MODEL = [
    *("+experiment=world_model_offline", "data.batch=4", "data.length=8", "data.held_batches=2", "data.pad=true"),
    *("data.cross=false", "model.recurrence.deter=16", "model.recurrence.stoch=2", "model.recurrence.classes=4"),
    *("model.recurrence.hidden=8", "model.encoder.depth=2", "model.decoder.blocks=0", "callback.film.context=3"),
    "callback.film.batches=1",
    *EPOCHS,
]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = tmp_path_factory.mktemp("recordings") / "dot"
    record(config("record", ["env=dummy", "env.game=dot", "width=4", "steps=600", f"store={store}"]))
    return f"data.store='{store}'"


def run(*words: str) -> Folder:
    return train(config("train", words), words).folder


def test_scores_come_at_epoch_ends_and_the_best_is_kept() -> None:
    folder = run(*DQN, "callback.score.every=1", "name=a")
    rows = [row for row in read_json(folder.evaluation) if not row["final"]]
    assert [row["updates"] for row in rows] == [3, 6]
    assert all(row["episodes"] == 3 for row in rows)
    best = max(rows, key=lambda row: (row["return_mean"], -row["updates"]))
    assert torch.load(folder.best, weights_only=True)["global_step"] == best["updates"]


def test_scoring_changes_nothing_that_is_learned() -> None:
    with_scores = run(*DQN, "callback.score.every=1", "name=a")
    without = run(*DQN, "~callback.score", "name=b")
    assert not read_json(without.evaluation)[:-1]
    assert_same_run(with_scores.path, without.path)


def test_films_show_what_was_held_out(recording: str) -> None:
    folder = run(*MODEL, recording, "callback.film.every=1", "name=a")
    films = sorted((folder.path / "films").glob("*.gif"))
    assert [film.stem for film in films] == ["00000003", "00000006"]
    told = json.loads(films[-1].with_suffix(".json").read_text())
    assert told["updates"] == 6
    assert told["rows"]
    rows = read_csv(folder.metrics)
    assert any(name.startswith("ahead/") and name.endswith("/open") for name in rows[-1])


@pytest.mark.parametrize("words", [["data.held_out=0"], ["data.held_batches=0"], ["data.held_out=0.0001"]])
def test_where_nothing_is_held_out_a_run_ends_without_a_film_and_says_so(
    recording: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(*MODEL, recording, "name=a", *words)
    assert folder.done.is_file()
    assert not (folder.path / "films").exists()
    told = "data.held_out=0.0001 holds out none of" in " ".join(capsys.readouterr().out.split())
    assert told == ("0.0001" in words[0]), "who asks for none knows"


def test_films_measure_rewards_as_they_are_learned(recording: str) -> None:
    rows = {}
    for how in ("null", "tanh"):
        folder = run(*MODEL, recording, f"stage.loss.clip_rewards={how}", f"name={how}")
        path = folder.path / "films" / "00000006.json"
        rows[how] = [row["mse/reward/copy"] for row in json.loads(path.read_text())["rows"]]
    # In this world a reward is 0 or 1.
    assert rows["tanh"] == pytest.approx([math.tanh(1) ** 2 * error for error in rows["null"]])
    assert any(rows["null"])


def test_held_out_losses_stand_beside_those_of_training(recording: str) -> None:
    rows = read_csv(run(*MODEL, recording, "~callback.film", "callback.held.every=1", "name=a").metrics)
    assert len(rows) == 2
    for row in rows:
        losses = {name for name in row if name.startswith("loss/")} - {"loss/total"}
        assert losses
        assert {f"held/{name}" for name in losses} <= row.keys()


def test_films_and_held_out_losses_change_nothing_that_is_learned(recording: str) -> None:
    watched = run(*MODEL, recording, "callback.film.every=1", "callback.held.every=1", "name=a")
    alone = run(*MODEL, recording, "~callback.film", "~callback.held", "name=b")
    assert_same_run(watched.path, alone.path)
    assert not any(name.startswith("held/") for name in read_csv(alone.metrics)[-1])


def test_a_stage_without_a_world_model_is_not_filmed() -> None:
    folder = run(*DQN, "callback.film.every=1", "callback.held.every=1", "name=a")
    assert not (folder.path / "films").exists()
    assert not any(name.startswith("held/") for row in read_csv(folder.metrics) for name in row)
