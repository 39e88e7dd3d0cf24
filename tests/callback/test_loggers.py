"""Trackers beside metrics.csv."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldmodels.launch.compose import config
from worldmodels.launch.logger import finish, wandb
from worldmodels.launch.train import train

WORDS = [
    *("env=dummy", "stage=dqn", "data.width=2", "data.warmup=64", "data.updates=10", "data.piece=8", "name=run"),
    *("data.sampler.length=1", "data.sampler.batch=8", "data.steps_per_update=2", "evaluation.episodes=2"),
    "callback.meter.every=5",
]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Path:
    words = (*WORDS, *words)
    return train(config("train", words), words).folder.path


def test_tensorboard_holds_the_same_numbers_as_the_table() -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from worldmodels.evaluation.table import read_csv

    folder = run("logger=tensorboard", "budget.updates=20")
    events = event_accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    rows = read_csv(folder / "metrics.csv")
    told = {event.step: event.value for event in events.Scalars("loss/total")}
    assert told.keys() == {int(row["env_steps"]) for row in rows}
    for row in rows:
        assert told[int(row["env_steps"])] == pytest.approx(row["loss/total"], rel=1e-4)


def test_a_resumed_run_continues_the_same_wandb_run() -> None:
    pytest.importorskip("wandb")
    words = ("logger=wandb", "logger.wandb.offline=true")
    folder = run(*words, "budget.updates=10")
    first = (folder / "wandb_id").read_text()
    run(*words, "budget.updates=20")
    assert (folder / "wandb_id").read_text() == first
    kept = [path.name for path in (folder / "wandb").glob("offline-run-*")]
    assert kept
    assert all(name.endswith(first) for name in kept)


def test_a_second_run_of_the_same_process_has_a_wandb_run_of_its_own() -> None:
    pytest.importorskip("wandb")
    words = ("logger=wandb", "logger.wandb.offline=true", "budget.updates=10")
    first, second = (run(*words, f"name={name}") for name in "ab")
    for folder in (first, second):
        (kept,) = (folder / "wandb").glob("offline-run-*")
        assert kept.name.endswith((folder / "wandb_id").read_text())


def test_wandb_finds_nothing_to_warn_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("wandb")
    told: list[str] = []
    monkeypatch.setattr(package, "termwarn", lambda text, **_: told.append(text))
    logger = wandb(str(tmp_path), "any", offline=True)
    try:
        assert logger.experiment.id == (tmp_path / "wandb_id").read_text()
    finally:
        finish()
    assert not told
