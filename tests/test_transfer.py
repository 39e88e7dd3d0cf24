"""The transfer experiment as a user runs it, at a size that shows that every step hands on what the next one takes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from worldmodels import command
from worldmodels.evaluation.table import read_json

TINY = [
    *("agents:budget.updates=100", "agents:data.updates=50", "agents:data.warmup=200"),
    *("recordings:steps=1200", "recordings:prefill=600", "held_out:steps=800", "judge:steps=400"),
    *("pretrain:budget.updates=40", "pretrain:data.updates=20"),
    *("world_model:budget.updates=40", "world_model:data.updates=20"),
    *("dreamer:budget.updates=20", "dreamer:data.updates=10", "dreamer:data.warmup=300"),
    *("callback.judge.every=10", "callback.judge.batches=2", "callback.meter.every=10", "callback.film=null"),
    *("agents:callback.score=null", "dreamer:callback.score=null", "evaluation.episodes=2", "evaluation.limit=100"),
]


@pytest.mark.slow
def test_the_small_study_goes_from_agents_to_the_table_beside_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "study=transfer_minatar_small", "launcher=basic", "seeds=[0]", *TINY]
    assert command.main(words) == 0
    root = tmp_path / "runs" / "transfer_minatar_small"
    for step in ("world_model", "dreamer"):
        for folder in (root / step).glob("arm=*"):
            arm = folder.name.partition(",")[0].removeprefix("arm=")
            begun = json.loads((folder / "provenance.json").read_text()).get("init")
            assert (begun is None) == (arm == "scratch"), folder
            if begun:
                assert begun["folder"].endswith(f"data.shuffle={'cells' if arm == 'shuffled' else 'null'},seed=0")
    fixed = [row["loss/total"] for row in read_json(root / "dreamer/arm=frozen_world_model,seed=0/judged.jsonl")]
    assert len(fixed) == 3
    assert len(set(fixed)) == 1, "it learned"
    with (root / "report" / "relative.csv").open(newline="") as file:
        ratios = {
            (row["study"], row["arm"]): float(row["loss_to_scratch"])
            for row in csv.DictReader(file)
            if row["updates"] == "20"
        }
    assert ratios["world_model", "all"] < 0.8
    assert (root / "report" / "original.md").read_text().count("model loss") == 15
    capsys.readouterr()
    assert command.main(words) == 0
    assert "15 of 15 runs of all steps finished" in capsys.readouterr().out
    assert {json.loads(path.read_text())["attempt"] for path in root.rglob("status.json")} == {1}
