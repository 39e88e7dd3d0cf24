"""`worldmodels count`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from worldmodels import command
from worldmodels.launch.count import count


def test_the_parts_of_a_dreamer_add_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command.main(["count", "+experiment=dreamer_minatar", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"encoder", "decoder", "rssm", "heads", "actor", "critic"} < told.keys()
    learned, total = told.pop("learned"), told.pop("total")
    assert total == sum(told.values())
    assert learned == total - told["slow_critic"]
    assert told["slow_critic"] == told["critic"]


def test_a_world_gives_the_shapes_where_there_is_no_recording(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["count", "+experiment=world_model_offline"]
    assert command.main([*words, "--json"]) == 2
    assert "add env=minatar" in capsys.readouterr().err
    assert command.main([*words, "env=minatar", "env.game=seaquest", "--json"]) == 0
    assert {"encoder", "decoder", "rssm", "heads", "total"} < json.loads(capsys.readouterr().out).keys()


def test_a_target_is_told_apart_from_what_learns(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["count", "+experiment=dreamer_minatar"]) == 0
    told = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "does not learn" in told["slow_critic"]
    assert "of them learn" in told["total"]


def test_a_wider_model_counts_more(capsys: pytest.CaptureFixture[str]) -> None:
    totals = []
    for size in (64, 128):
        words = ["+experiment=dreamer_minatar", f"model.recurrence.deter={size}", "--json"]
        assert command.main(["count", *words]) == 0
        totals.append(json.loads(capsys.readouterr().out)["rssm"])
    assert totals[0] < totals[1]


def test_shared_and_frozen_parameters_count_once() -> None:
    stage = nn.Module()
    stage.model = nn.Module()
    stage.model.encoder = nn.Linear(2, 3)
    stage.model.decoder = nn.Linear(3, 2)
    stage.actor = stage.model.encoder
    stage.slow = nn.Linear(2, 3).requires_grad_(False)
    rows = {row.name: (row.parameters, row.frozen) for row in count(stage)}
    assert rows == {"encoder": (9, 0), "decoder": (8, 0), "slow": (9, 9), "total": (26, 9)}


@pytest.mark.parametrize(
    ("flag", "told"), [("--jsn", "did you mean --json"), ("--multirun", "does not take --multirun"), ("-m", "take -m")]
)
def test_a_flag_that_count_does_not_take_is_told_in_counts_own_name(
    flag: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["count", flag]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "worldmodels count" in error
    assert "usage:" not in error


@pytest.mark.parametrize(
    "words",
    [
        ["stage=dreamerv2_pydreamer_minatar", "env=minatar", "env.unify=categorical"],
        ["stage=dreamerv2_pydreamer_atari", "env=atari"],
        ["stage=dreamerv3", "model/size=12M", "env=atari"],
        ["stage=r2dreamer", "env=atari"],
    ],
    ids=lambda words: words[0].removeprefix("stage="),
)
def test_layers_add_up_to_the_total(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told = list[dict[str, int]]()
    for more in ([], ["--layers"]):
        assert command.main(["count", *words, "--json", *more]) == 0
        told.append(json.loads(capsys.readouterr().out))
    layers = {name: value for name, value in told[1].items() if name not in ("total", "learned")}
    assert sum(layers.values()) == told[1]["total"] == told[0]["total"]
    assert any(" Conv2d " in name for name in layers)
