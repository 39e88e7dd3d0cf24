"""`python train.py` in a process of its own, in a real world, stopped and killed as users and clusters do it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from runs import assert_same_run
from typecheck import unwatched

from worldmodels.data.store import EpisodeStore
from worldmodels.launch.compose import config
from worldmodels.launch.train import train

REPOSITORY = Path(__file__).parents[1]
SHORT = ["~callback.film", "callback.score.every=1000", "evaluation.episodes=1", "evaluation.limit=20"]
DREAMER = [
    *("+experiment=dreamer_minatar", "data.width=4", "data.warmup=160", "data.steps_per_update=6.0"),
    *("model.recurrence.deter=24", "model.recurrence.stoch=2", "model.recurrence.hidden=16", "data.sampler.batch=4"),
    *("stage.imagination.starts=8", "stage.imagination.horizon=3", "callback.meter.every=5"),
    *SHORT,
]
PPO = [
    *("+experiment=ppo_minatar", "data.width=4", "data.steps=64", "env.game=seaquest", "callback.meter.every=5"),
    *("stage.anneal=96", *SHORT),
]
CASES = {
    "dreamer-term": ([*DREAMER, "data.updates=40", "budget.updates=80"], signal.SIGTERM),
    "ppo-int": ([*PPO, "budget.updates=96"], signal.SIGINT),
}


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(words: list[str], name: str) -> Path:
    """In this process, to the end."""
    words = [*words, f"name={name}"]
    outcome = train(config("train", words), words)
    assert outcome.result is not None
    return outcome.folder.path


def start(words: list[str]) -> subprocess.Popen[str]:
    """The run `cut`, in a session of its own, so that the test's own signals do not reach it."""
    command = [sys.executable, str(REPOSITORY / "train.py"), *words, "name=cut"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def folder() -> Path:
    (found,) = Path("runs").glob("*/cut")
    return found


def wait(process: subprocess.Popen[str], pattern: str, seconds: float = 90.0) -> None:
    """Until a file of that name holds something."""
    end = time.monotonic() + seconds
    while not any(path.stat().st_size for path in Path("runs").glob(f"*/cut/{pattern}")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("case", CASES)
def test_a_signal_within_an_epoch_costs_nothing(case: str) -> None:
    words, number = CASES[case]
    process = start(words)
    wait(process, "metrics.csv")
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number, told
    assert "Traceback" not in told
    stopped = torch.load(folder() / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    epoch = 40 if "dreamer" in case else 32
    assert 0 < stopped < int(words[-1].partition("=")[2])
    assert bool(stopped % epoch) == ("dreamer" in case), "a rollout is finished first, other epochs are cut"
    with unwatched():
        assert run(words, "cut") == folder()
        assert_same_run(run(words, "whole"), folder())


def test_a_recording_that_is_stopped_keeps_what_was_lived() -> None:
    command = [sys.executable, str(REPOSITORY / "record.py"), "env=minatar", "steps=100000000", "store=mine"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    index = Path("mine/index.jsonl")
    while not (index.exists() and index.stat().st_size):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.terminate()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in told
    with EpisodeStore.open("mine") as store:
        assert not store.verify()
        ended = store.episodes.ended
        assert store.steps > 0
        assert not ended.all(), "the open episodes were stored, too"


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_been() -> None:
    words = [*DREAMER, "data.updates=8", "budget.updates=400", "callback.checkpoint.pause=0"]
    chance, killed = random.Random(0), 0
    for attempt in range(6):
        process = start(words)
        if attempt % 2:
            wait(process, "checkpoints/last.ckpt")
            wait(process, "checkpoints/cutting.tmp")  # in the midst of writing one
        else:
            wait(process, "metrics.csv")
            time.sleep(chance.uniform(0.0, 1.5))
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed >= 4
    assert not (folder() / "done.json").exists()
    last = start(words)
    _, told = last.communicate(timeout=200)
    assert last.returncode == 0, told
    assert_same_run(run(words, "whole"), folder())
