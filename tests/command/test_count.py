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
    assert told.pop("total") == sum(told.values())


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
