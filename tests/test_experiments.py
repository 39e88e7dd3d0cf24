"""Every named experiment composes, builds, learns and is evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from worldmodels.launch.choices import conf
from worldmodels.launch.compose import config
from worldmodels.launch.record import record
from worldmodels.launch.train import Outcome, train

SMALL = {
    "budget.updates": 2,
    "budget.env_steps": None,
    "budget.hours": None,
    "data.warmup": 200,
    "data.width": 4,
    "data.updates": 2,
    "data.held_batches": 1,
    "data.steps": 16,
    "data.batch": 4,
    "data.sampler.batch": 4,
    "callback.film.every": 1,
    "callback.film.batches": 1,
    "callback.film.windows": 1,
    "callback.meter.every": 1,
    "callback.score.every": 1,
    "callback.score.episodes": 1,
    "callback.score.limit": 50,
    "evaluation.episodes": 2,
    "evaluation.limit": 50,
}

MODEL = {  # of experiments with a world model, whatever the size of theirs
    "data.length": 8,
    "data.sampler.length": 8,
    "data.width": 2,
    "data.warmup": 64,
    "model.recurrence.deter": 32,
    "model.recurrence.hidden": 8,
    "model.recurrence.stoch": 4,
    "model.recurrence.classes": 4,
    "model.encoder.depth": 4,
    "model.representation.size": 16,
    "model.representation.encoder.depth": 4,
    "planner.simulations": 2,
    "stage.unroll": 3,
    "stage.n_step": 3,
    "stage.imagination.horizon": 3,
    "stage.imagination.starts": 16,
}
NAMES = sorted(path.stem for path in (conf() / "experiment").glob("*.yaml"))
TRAINED = [name for name in NAMES if not name.startswith("record_")]  # the others are for record.py
FILMED = ("dreamer_minatar", "world_model_offline")  # one that acts and one that does not; films and scores take long
BARE = ["callback.film=null", "callback.score=null", "evaluation.episodes=1", "evaluation.limit=5"]


def words(cfg: DictConfig) -> list[str]:
    """Those of the small options that the experiment has."""
    missing = object()
    wanted = {**SMALL, **(MODEL if cfg.get("model") is not None else {})}
    there = {key: value for key, value in wanted.items() if OmegaConf.select(cfg, key, default=missing) is not missing}
    return [f"{key}={'null' if value is None else value}" for key, value in there.items()]


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes for experiments that learn from a store, shown as all games of MinAtar can be."""
    store = tmp_path_factory.mktemp("recordings") / "breakout"
    shown = ["env=minatar", "env.game=breakout", "env.unify=pad", "env.actions=full"]
    return record(config("record", [*shown, f"store={store}", "steps=2000", "width=4"]))[0]


def learned(experiment: str, recording: Path, *more: str) -> Outcome:
    """Two updates of an experiment."""
    cfg = config("train", [f"+experiment={experiment}"])
    overrides = [f"+experiment={experiment}", *words(cfg), *more]
    if cfg.get("model") is not None and experiment not in FILMED:
        shown = ("callback.film", "callback.score", "evaluation")
        overrides = [*(word for word in overrides if not word.startswith(shown)), *BARE]
    if "store" in cfg.data:
        overrides.append(f"data.store='{recording}'")
    return train(config("train", overrides), overrides)


@pytest.fixture(scope="session")
def begun(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run for experiments that begin with the weights of one."""
    runs = tmp_path_factory.mktemp("runs")
    return learned("pretrain_multi_env", recording, f"paths.runs={runs}").folder.path


@pytest.mark.parametrize("name", TRAINED)
def test_an_experiment_takes_two_updates(
    name: str, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = config("train", [f"+experiment={name}"])
    more = [f"init='{request.getfixturevalue('begun')}'"] if cfg.get("arm") is not None else []
    outcome = learned(name, recording, *more)
    assert outcome.result is not None
    assert outcome.result["updates"] >= 2
    assert (outcome.folder.path / "report.html").is_file()
    if name in FILMED:
        assert list((outcome.folder.path / "films").glob("*.gif"))
