"""The whole analysis: what was planted is found, folders are whole, and questions are answered once."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from worldmodels.analysis.latent_factors import LatentFactors
from worldmodels.analysis.subject import Subject
from worldmodels.command import main
from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import ConfigError, UserError
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder
from worldmodels.data.store import EpisodeStore
from worldmodels.env.dummy import Dummy
from worldmodels.launch.analyse import Outcome, analyse
from worldmodels.launch.compose import config
from worldmodels.launch.record import record
from worldmodels.launch.restore import load
from worldmodels.launch.train import train
from worldmodels.model.rssm import RSSMBelief
from worldmodels.policy.scripted import Random

OPTIONS: dict[str, Any] = {"frames": 1200, "clusters": (3, 5), "untrained": 2, "shuffles": 2}


class Planted(nn.Module):
    """Its fifth feature is the dot's column, the others are noise; untrained, all are noise."""

    def __init__(self, store: EpisodeStore, trained: bool, seed: int) -> None:
        super().__init__()
        self.spec, self.trained = store.spec, trained
        self.noise = torch.Generator().manual_seed(seed)

    def initial(self, batch: int) -> Belief:
        return self._belief(torch.zeros(batch))

    def encode(self, obs: Any) -> torch.Tensor:
        column = obs["grid"][..., 0].float().sum(-2) @ torch.arange(8.0)
        return column[..., None]

    def observe(self, belief: Belief, action: Any, embed: torch.Tensor, *, rng: Any = None) -> Belief:
        return self._belief(embed[:, 0])

    def imagine(self, belief: Belief, action: Any, *, rng: Any = None) -> Belief:
        return belief

    def decode(self, belief: Belief) -> Prediction:
        return Prediction()

    def _belief(self, column: torch.Tensor) -> Belief:
        deter = torch.randn(len(column), 6, generator=self.noise)
        if self.trained:
            deter[:, 4] = 3 - column
        stoch = torch.zeros(len(column), 2, 3)
        stoch[:, :, 0] = 1
        return RSSMBelief(deter, stoch, stoch, stoch)


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    env = Dummy("dot", zoom=0).make(4)
    driver = Driver(env, Random(env.spec), Rng(0, "dots"))
    store = EpisodeStore.create(tmp_path_factory.mktemp("dots") / "s", env.spec, extras=driver.extras)
    Recorder(driver, store).record(steps=1500)
    return store


def test_what_was_planted_is_found_and_nothing_else(dots: EpisodeStore, tmp_path: Path):
    subject = Subject(
        "planted", dots.spec, Planted(dots, True, 0), lambda seed: Planted(dots, False, 1 + seed), dots, {"seed": 0}
    )
    shares: list[float] = []
    found = LatentFactors(**OPTIONS)(subject, tmp_path, lambda share, _: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert found["readout"]["0_x"]["trained"] == pytest.approx(1, abs=1e-4)
    assert abs(found["readout"]["0_y"]["trained"]) < 0.3
    assert abs(found["readout"]["0_x"]["untrained"]) < 0.3
    assert abs(found["readout"]["0_x"]["shuffled"]) < 0.5
    assert found["readout"]["0_y"]["frame"] == pytest.approx(1, abs=1e-3)
    assert found["canonical"]["trained"][0] == pytest.approx(1, abs=1e-3)
    with (tmp_path / "latent-factors.csv").open() as file:
        rows = list(csv.DictReader(file))
    line = next(
        row for row in rows if row["what"] == "single" and row["features"] == "trained" and row["variable"] == "0_x"
    )
    assert line["feature"] == "4"
    assert float(line["value"]) > 0.999
    kept = np.load(tmp_path / "latents.npz")
    column = kept["variables"][:, kept["names"].tolist().index("0_x")]
    assert kept["h"][:, 4] == pytest.approx(3 - column)
    assert np.bincount(kept["cluster_3"]).sum() == 1200
    page = (tmp_path / "latent-factors.html").read_text()
    addresses = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)", page)
    assert len(addresses) == len(list(tmp_path.glob("*.png"))) >= 9
    assert all(address.startswith("data:") for address in addresses)


TINY = [
    *("+experiment=world_model_offline", "data.batch=4", "data.length=8", "data.held_batches=1", "data.pad=true"),
    *("data.cross=false", "model.recurrence.deter=16", "model.recurrence.stoch=2", "model.recurrence.classes=4"),
    *("model.recurrence.hidden=8", "~callback.film", "data.updates=2", "budget.updates=2"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world model of the dot, barely trained, and the recording that it learned from."""
    place = tmp_path_factory.mktemp("run")
    store = place / "dot"
    record(config("record", ["env=dummy", "env.game=dot", "env.zoom=0", "width=4", "steps=1500", f"store={store}"]))
    chosen = [*TINY, f"data.store='{store}'", f"paths.runs='{place}'", "name=mine"]
    return train(config("train", chosen), chosen).folder.path


def words(run: Path, *more: str) -> list[str]:
    return [f"run={run}", "frames=600", "analysis.clusters=[3]", "analysis.untrained=1", "analysis.shuffles=1", *more]


def ask(run: Path, *more: str) -> Outcome:
    return analyse(config("analyse", ["analysis=latent_factors", *words(run, *more)]), "latent-factors")


def test_a_run_is_analysed_by_one_command_and_stays_as_it_is(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("worldmodels.analysis.drawing._png", lambda _: b"drawn elsewhere")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert main(["analyse", "latent-factors", *words(run)]) == 0
    assert "0_x" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    new = {path.relative_to(run).parts[:2] for path in run.rglob("*") if path.is_file() and path not in before}
    assert new == {("analysis", "latent-factors")}
    found = json.loads((run / "analysis" / "latent-factors" / "summary.json").read_text())["found"]
    # A network that has hardly learned reads about as well as one that has not.
    assert found["readout"]["0_x"]["trained"] == pytest.approx(found["readout"]["0_x"]["untrained"], abs=0.3)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    """Another analysis in the place of ours, where only the asking matters."""
    monkeypatch.setattr(LatentFactors, "__call__", answer)


def test_the_same_question_is_answered_once_and_another_needs_a_word(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answering(monkeypatch, lambda *_: {"numbers": 1})
    place = tmp_path / "out"
    assert not ask(run, f"out={place}").old
    assert ask(run, f"out={place}").old
    with pytest.raises(ConfigError, match="an analysis with another analysis, seed"):
        ask(run, f"out={place}", "seed=1")
    assert not ask(run, f"out={place}", "seed=1", "force=true").old
    seeds = {path.name: json.loads((path / "summary.json").read_text())["asked"]["seed"] for path in tmp_path.iterdir()}
    assert seeds == {"out": 1, "out.old-1": 0}


def test_any_checkpoint_of_a_run_can_be_looked_at(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, lambda *_: {"numbers": 1})
    kept = run / "checkpoints" / "update_00000100.ckpt"
    kept.write_bytes((run / "checkpoints" / "last.ckpt").read_bytes())
    for name in ("update_00000100", "last.ckpt"):
        assert not ask(run, f"checkpoint={name}", f"out={tmp_path / name}").old
    kept.unlink()
    with pytest.raises(ConfigError, match="one of last"):
        ask(run, "checkpoint=update_00000100", f"out={tmp_path / 'no'}")


def test_new_episodes_are_played_by_the_runs_policy_and_kept_with_the_answer(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answering(monkeypatch, lambda *_: {"numbers": 1})
    found, recipe = load(run), Dummy("dot", zoom=0)
    found.env = recipe.make  # type: ignore[method-assign]
    found.policy = lambda: Random(recipe.spec())  # type: ignore[method-assign]
    monkeypatch.setattr("worldmodels.launch.analyse.load", lambda *_: found)
    place = tmp_path / "out"
    assert ask(run, "play=true", f"out={place}").findings == {"numbers": 1}
    with EpisodeStore.open(place / "episodes") as store:
        assert store.steps >= 600
        assert store.episodes.source[0] == {"run": str(run)}
    assert ask(run, "play=true", f"out={place}").old


def test_what_fails_on_the_way_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise RuntimeError("on the way")

    def stopped(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    for way, error in ((fail, RuntimeError), (stopped, SystemExit)):
        answering(monkeypatch, way)
        with pytest.raises(error):
            ask(run, f"out={tmp_path / 'out'}")
        assert not list(tmp_path.iterdir())


def test_what_can_not_be_analysed_is_refused_before_anything_is_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = load(run)
    monkeypatch.setattr("worldmodels.launch.analyse.load", lambda *_: found)
    other, place = tmp_path / "corridor", tmp_path / "out"
    record(config("record", ["env=dummy", "env.game=corridor", "width=4", "steps=100", f"store={other}"]))
    refused = {
        f"store={other}": "differs from the run's",
        f"store={tmp_path}": "no episode store",
        "frames=100": "at least 500 frames",
        "analysis.scatter=paddle_x": "no variable 'paddle_x'",
        "analysis.clusters=[1]": "numbers of at least 2",
        "play=true": "without a world",
    }
    for word, told in refused.items():
        with pytest.raises(UserError, match=told):
            ask(run, word, f"out={place}")
        assert not place.exists()
    place.mkdir()
    with pytest.raises(ConfigError, match="is no analysis"):
        ask(run, f"out={place}")


def test_words_that_name_nothing_are_refused_with_what_there_is(capsys: pytest.CaptureFixture[str]):
    assert main(["analyse", "latent-facts", "run=x"]) == 2
    assert "latent_factors" in capsys.readouterr().err
    assert main(["analyse", "run=x"]) == 2
    assert "latent-factors" in capsys.readouterr().err
    assert main(["analyse", "latent-factors"]) == 2
    assert "run is not set" in capsys.readouterr().err


def test_a_run_without_a_world_model_is_refused(tmp_path: Path):
    plain = ["env=dummy", "stage=dqn", "data.width=2", "data.warmup=8", "data.piece=4", "data.sampler.length=1"]
    plain += ["data.sampler.batch=2", "data.updates=1", "budget.updates=1", "evaluation.episodes=1", "~callback.score"]
    plain += [f"paths.runs='{tmp_path}'", "name=plain"]
    folder = train(config("train", plain), plain).folder.path
    with pytest.raises(ConfigError, match="DQN, which has no world model"):
        ask(folder)
