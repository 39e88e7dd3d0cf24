"""2N updates equal N, new objects from the checkpoint, and N more: bit for bit, for every stage, in real worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import assert_same
from typecheck import unwatched

from worldmodels.core.spec import ArraySpec
from worldmodels.data.latents import Latents
from worldmodels.launch.compose import config
from worldmodels.launch.record import record
from worldmodels.launch.train import train
from worldmodels.policy.searching import POLICY, VALUE

QUIET = ["~callback.film", "callback.score.every=1000", "evaluation.episodes=1", "evaluation.limit=20"]
SMALL_MODEL = [
    "model.recurrence.deter=24",
    "model.recurrence.stoch=2",
    "model.recurrence.hidden=16",
    "model.encoder.depth=2",
    "data.sampler.length=6",
    "data.sampler.batch=4",
    "stage.imagination.starts=8",
    "stage.imagination.horizon=3",
]
SMALL_SEARCH = [
    "model.representation.size=16",
    "model.representation.encoder.depth=2",
    "model.dynamics.units=16",
    "planner.simulations=3",
    "data.sampler.batch=8",
    "data.sampler.length=11",
]
REPLAY = ["data.width=4", "data.warmup=160", "data.piece=8", "data.steps_per_update=6.0", "data.updates=4"]

# What, its words, updates in an epoch.
RUNS: dict[str, tuple[list[str], int]] = {
    "dqn": (["+experiment=dqn_minatar", *REPLAY, "data.sampler.batch=8"], 4),
    "dqn-prioritised": (
        [
            "+experiment=dqn_minatar",
            *REPLAY,
            "data/sampler=prioritised",
            "env.game=freeway",
        ],
        4,
    ),
    "ppo": (
        [
            "+experiment=ppo_minatar",
            "stage.anneal=6400",
            "data.width=4",
            "data.steps=24",
            "data.passes=1",
            "env.game=seaquest",
        ],
        8,
    ),
    "dreamer": (["+experiment=dreamer_minatar", *REPLAY, *SMALL_MODEL, "env.game=asterix"], 4),
    "dreamer-replayed-atari": (
        [
            "+experiment=dreamer_minatar",
            "env=atari",
            "env.game=pong",
            *REPLAY,
            *SMALL_MODEL,
            "data.width=2",
            "data.warmup=40",
            "data/sampler=uniform",
            "data.sampler.online=true",
            "data.replay_context=1",
            "stage.imagination.starts=all",
            "stage.repval.scale=0.3",
            "stage.optim.kind=laprop",
            "stage.optim.warmup=6",
            "stage.optim.agc=0.3",
        ],
        4,
    ),
    "dreamer-carried-procgen": (
        [
            "+experiment=dreamer_minatar",
            "env=procgen",
            "env.game=coinrun",
            *REPLAY,
            *SMALL_MODEL,
            "data/sampler=consecutive",
            "data.sampler.reset_interval=20",
            "stage.loss.iwae_samples=2",
            "stage.imagination.actor_grad=both",
            "stage.slow_critic={rate: 1.0, every: 3, target: true}",
            "stage.model_updates=6",
        ],
        4,
    ),
    "muzero-reanalyzed": (
        ["+experiment=gumbel_muzero", *REPLAY, *SMALL_SEARCH, "data.refresh=true", "stage.reanalyze.ratio=0.5"],
        4,
    ),
    "muzero-prioritised": (
        [
            "+experiment=gumbel_muzero",
            "planner=puct",
            "stage/consistency=nce",
            *REPLAY,
            *SMALL_SEARCH,
            "data/sampler=prioritised",
            "data.sampler.pad=true",
            "data.input_priorities=true",
            "env.game=seaquest",
        ],
        4,
    ),
    "muzero-reanalyzed-prioritised": (
        [
            "+experiment=gumbel_muzero_reanalyze",
            *REPLAY,
            *SMALL_SEARCH,
            "data/sampler=curious",
            "data.sampler.pad=true",
            "stage.target={every: 3}",
        ],
        4,
    ),
    "muzero-crew": (
        [
            "+experiment=gumbel_muzero",
            "model=muzero_prefix",
            "stage.shorten_every=3",
            "stage/consistency=buffered",
            *REPLAY,
            *SMALL_SEARCH,
            "model.prefix.units=8",
            "stage.consistency.queue=100",
            "stage.optim={kind: sgd, warmup: 2, decay: 0.5, decay_updates: 4}",
            "data.refresh=true",
            "stage.reanalyze={ratio: 0.5, workers: 2}",
            "trainer.devices=2",
        ],
        4,
    ),
    "world-model": (["+experiment=world_model_offline", "data.updates=4", "data.batch=4", *SMALL_MODEL[:4]], 4),
}


WITHIN = (
    "dqn",
    "muzero-reanalyzed",
    "muzero-reanalyzed-prioritised",
    "dreamer",
    "dreamer-replayed-atari",
    "dreamer-carried-procgen",
    "world-model",
)


TOLD = {  # of every step, beside the store
    "dreamer": {"deter": ArraySpec((24,), "float16"), "stoch": ArraySpec((2,), "uint8")},
    "muzero": {POLICY: ArraySpec((3,), "float32"), VALUE: ArraySpec((), "float32")},
}


def state(folder: Path) -> dict[str, Any]:
    """All of the newest checkpoint that decides how a run goes on."""
    loaded = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    kept = {name: loaded[name] for name in ("state_dict", "optimizer_states", "global_step")}
    data = dict(loaded["Data"])
    if "known" in data.get("recall", {}):
        data["recall"] = beliefs(
            folder, data["recall"], TOLD["muzero" if "muzero" in folder.parent.name else "dreamer"]
        )
    return kept | {"data": data}


def beliefs(folder: Path, seen: dict[str, Any], arrays: dict[str, ArraySpec]) -> list[Any]:
    """What a checkpoint knows of every row, wherever it lies; that depends on how many checkpoints were cut."""
    table = Latents(folder / "beliefs", arrays)
    table.restore(seen)
    values, known = table.get(np.arange(seen["rows"]))
    table.close()
    assert known.sum() > 30
    return [torch.from_numpy(known), *(torch.from_numpy(value) for value in values.values())]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("recordings") / "breakout"
    return record(config("record", ["env=minatar", "env.game=breakout", f"store={store}", "steps=800", "width=4"]))[0]


def run(words: list[str], updates: int, name: str) -> Path:
    words = [*words, *QUIET, f"budget.updates={updates}", f"name={name}"]
    outcome = train(config("train", words), words)
    assert outcome.result is not None
    assert outcome.result["updates"] == updates
    return outcome.folder.path


@pytest.mark.parametrize("what", RUNS)
def test_a_run_in_parts_equals_the_run_in_one(
    what: str, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at the end of an epoch; and before, within one, where a stream can be cut there."""
    monkeypatch.chdir(tmp_path)
    words, epoch = RUNS[what]
    words = [*words, f"data.store='{recording}'"] if what == "world-model" else words
    first, *parts = (epoch - 1, 2 * epoch, 2 * epoch + 1) if what in WITHIN else (epoch, 2 * epoch)
    run(words, first, "parts")
    with unwatched():
        for updates in parts:
            in_parts = run(words, updates, "parts")
        assert_same(state(run(words, parts[-1], "one")), state(in_parts))
