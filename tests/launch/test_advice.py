"""What an error says to set can be typed as it stands: options have their whole name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from worldmodels.core.errors import UserError
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.layout import Layout
from worldmodels.data.sampler import Prioritised
from worldmodels.env.dummy import Dummy
from worldmodels.env.gymnasium import Gymnasium
from worldmodels.env.mixture import Mixture
from worldmodels.env.planes import reader
from worldmodels.env.wrappers import check_limit
from worldmodels.launch import checkpoint
from worldmodels.launch.choices import every_option
from worldmodels.launch.folder import Folder
from worldmodels.launch.queue.devices import devices
from worldmodels.launch.queue.nouns import Rules
from worldmodels.launch.queue.probe import Blind, source
from worldmodels.nn.conv import plan
from worldmodels.nn.heads import scalar_head
from worldmodels.nn.latents import make_latents
from worldmodels.nn.recurrent import make_cell
from worldmodels.nn.target import Target
from worldmodels.ops.bins import symexp_bins
from worldmodels.policy.greedy import Epsilon
from worldmodels.stage.behaviour import Imagination

GROUPS = ("callback", "data", "env", "hydra", "init", "model", "stage")
OBS = EnvSpec("x", {"image": ArraySpec((8, 8, 3), "uint8", "image")}, 2)


@cache
def options() -> set[str]:
    """All that there are, of every choice of every group."""
    return every_option()


def _no_checkpoint(folder: Path) -> None:
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    checkpoint.find(Folder(folder), "best", "init.checkpoint")


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("init.checkpoint", _no_checkpoint),
        ("env.vary", lambda _: Mixture(Dummy(), ["dot"], "gme")),
        ("env.games", lambda _: Mixture(Dummy(), [])),
        ("env.continuous", lambda _: Dummy("dot", continuous=True)),
        ("env.time_limit", lambda _: Dummy("dot", time_limit=None)),
        ("env.size", lambda _: Dummy(size=1)),
        ("env.observation", lambda _: Gymnasium(observation="none")),
        ("env.time_limit", lambda _: Gymnasium(time_limit=0)),
        ("env.kwargs", lambda _: Gymnasium(kwargs={"nothing": 1}).spec()),
        ("env.id", lambda _: Gymnasium("zzzzzzzzzzzzzz")),
        ("env.time_limit", lambda _: check_limit(0)),
        ("env.views", lambda _: reader("breakout", {"grid": ArraySpec((1, 1, 1), "bool", "planes")})),
        ("data.compress", lambda _: Layout.new(OBS, {}, ["grid"], {})),
        ("data.sampler.balance", lambda _: Prioritised(4, 4, balance=True)),
        ("data.sampler.capacity", lambda _: Prioritised(4, 4, capacity=9)),
        ("hydra.launcher.gpus", lambda _: devices("all", 1, 1, Blind())),
        ("hydra.launcher.slots_per_gpu", lambda _: devices(["a", "a"], 1, 1, Blind())),
        ("hydra.launcher.retry_on", lambda _: Rules(retry_on=("(",))),
        ("hydra.launcher.probe", lambda _: source("nothing")),
        ("model.encoder.style", lambda _: plan((3, 4, 4), 4, "valid", (1, 2, 4, 8))),
        ("model.recurrence.gru_layers", lambda _: make_cell("torch", 4, 4, layers=3)),
        ("model.recurrence.classes", lambda _: make_latents(4, 1, 0.0)),
        ("model.reward.support", lambda _: scalar_head(4, head="categorical", support=[1.0])),
        ("model.reward.bins", lambda _: symexp_bins(4)),
        ("stage.target.every", lambda _: Target(make_cell("torch", 4, 4), rate=0.0)),
        ("stage.epsilon.steps", lambda _: Epsilon(steps=0)),
        ("stage.imagination.return_norm_high", lambda _: Imagination(return_norm_low=1.0)),
        ("stage.imagination.return_norm_floor", lambda _: Imagination(return_norm_floor=0.0)),
    ],
)
def test_an_option_is_told_as_it_is_typed(key: str, wrong: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        wrong(tmp_path)
    told = re.findall(rf"(?<!\+)\b(?:{'|'.join(GROUPS)})\.\w+(?:\.\w+)*", refused.value.do)
    assert key in told
    assert set(told) <= options(), "there is such an option"
