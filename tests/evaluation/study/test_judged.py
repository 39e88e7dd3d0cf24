"""World models judged by one recording: at equal updates, seed by seed beside those from scratch, and the original."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from worldmodels.core.errors import ConfigError
from worldmodels.evaluation.study import find
from worldmodels.evaluation.study.group import group
from worldmodels.evaluation.study.original import NOTHING, published
from worldmodels.evaluation.study.report import report
from worldmodels.evaluation.table import JsonTable

UPDATES = (0, 20, 100)
SCRATCH, ALL = ((700.0, 300.0, 100.0), (800.0, 400.0, 50.0)), ((200.0, 90.0, 60.0), (200.0, 80.0, 20.0))


@pytest.fixture
def study(make: Any, tmp_path: Path) -> Path:
    """Two arms with two seeds, each with an init of its own seed; `make` runs a hundred updates and 1,000 env steps."""

    def judge(arm: str, seed: int, losses: Sequence[float]) -> None:
        init = None if arm == "scratch" else f"runs/pretrain/data.shuffle=null,seed={seed}"
        config = {"arm": arm, "init": {"run": init, "modules": [] if init is None else ["model"]}}
        score = 2.0 if arm == "scratch" else 3.0
        folder = make(f"arm={arm},seed={seed}", seed, score, study="steps/dreamer", config=config, words=[f"arm={arm}"])
        table = JsonTable(folder / "judged.jsonl")
        for updates, loss in zip(UPDATES, losses, strict=True):
            table.append({"updates": updates, "env_steps": 10 * updates, "loss/total": loss, "kl": loss / 10})

    for seed in (0, 1):
        judge("scratch", seed, SCRATCH[seed])
        judge("all", seed, ALL[seed])
    folder = tmp_path / "runs" / "steps"
    told = {"steps": ["pretrain", "dreamer"], "report": ["dreamer"], "reference": "transfer_minatar"}
    (folder / find.STEPS).write_text(json.dumps(told))
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_runs_that_began_with_the_run_of_their_own_seed_are_one_group(study: Path) -> None:
    found = group(find.runs([study]))
    assert [(each.label, len(each.runs)) for each in found.groups] == [("arm=all", 2), ("arm=scratch", 2)]
    assert found.columns == ("arm",)


def test_losses_are_averaged_and_ratios_are_taken_seed_by_seed(study: Path) -> None:
    report([study])
    told = {(row["arm"], int(row["updates"])): row for row in rows(study / "report" / "judged.csv")}
    assert set(told) == {(arm, updates) for arm in ("all", "scratch") for updates in UPDATES}
    for at, updates in enumerate(UPDATES):
        ours, theirs = [losses[at] for losses in ALL], [losses[at] for losses in SCRATCH]
        row = told["all", updates]
        assert float(row["loss"]) == pytest.approx(sum(ours) / 2)
        assert float(row["kl"]) == pytest.approx(sum(ours) / 20)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        assert float(row["loss_to_scratch"]) == pytest.approx(sum(ratios) / 2)
        assert (float(row["loss_to_scratch_low"]), float(row["loss_to_scratch_high"])) == (min(ratios), max(ratios))
        assert float(told["scratch", updates]["loss_to_scratch"]) == 1
    page = (study / "report" / "report.html").read_text()
    assert "World models on frames that no run learns from" in page
    assert "Relative to scratch" in page


def test_the_original_stands_beside_at_equal_shares_of_the_budget(study: Path) -> None:
    report([study])
    told = {(row["measure"], row["original_updates"], row["arm"]): row for row in rows(study / "report/original.csv")}
    assert len(told) == len(published("transfer_minatar"))
    fifth = told["model loss", "1000", "all"]  # 5 % of 20,000 updates is 5 % of ours
    assert (float(fifth["original"]), fifth["updates"]) == (2.9, "5")
    assert float(fifth["original_to_scratch"]) == pytest.approx(2.9 / 5.6)
    means = [first + (second - first) / 4 for first, second, _ in ALL]  # linear between 0 and 20
    assert float(fifth["ours"]) == pytest.approx(sum(means) / 2)
    end = told["return", "20000", "all"]
    assert end["updates"] == "100"
    assert float(end["ours_to_scratch"]) == pytest.approx(1.5)
    assert told["return", "20000", "frozen_rssm"]["ours"] == "", "an arm that was not run"
    page = (study / "report" / "report.html").read_text()
    assert "single run each" in page
    assert "read off the figures" in page


def test_only_what_there_is_of_both_is_shown_beside_the_original(study: Path) -> None:
    report([study])
    shown = (study / "report" / "original.md").read_text()
    arms = {line.split(" | ")[2] for line in shown.splitlines()[2:]}
    assert arms == {"scratch", "all"}, "of others there is nothing to set beside it"
    assert "ours / scratch" in shown
    for seed in (0, 1):
        shutil.rmtree(study / "dreamer" / f"arm=scratch,seed={seed}")
    report([study])
    shown = (study / "report" / "original.md").read_text()
    assert "theirs / scratch" in shown
    assert "ours / scratch" not in shown, "there is no such run, so all of it would be dashes"


def test_where_nothing_is_to_be_set_beside_the_original_a_line_says_so(study: Path) -> None:
    for folder in (study / "dreamer").iterdir():
        kept = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**kept, "arm": "mine"}))
    made = report([study])
    assert NOTHING in made.notes
    assert NOTHING in (study / "report" / "report.html").read_text()
    assert not list((study / "report").glob("original.*"))


def test_a_study_that_was_not_judged_has_no_such_tables(make: Any, tmp_path: Path) -> None:
    make("a", 0)
    report([tmp_path / "runs" / "study"])
    assert not (tmp_path / "runs/study/report/judged.csv").exists()
    assert "frames that no run learns from" not in (tmp_path / "runs/study/report/report.html").read_text()


def test_a_damaged_table_is_named_and_the_rest_is_used(study: Path) -> None:
    (study / "dreamer" / "arm=all,seed=0" / "judged.jsonl").write_text('{"updates": 0}\n')
    made = report([study])
    assert any("judged.jsonl can not be read" in note for note in made.notes)


def test_a_reference_that_nobody_published_is_refused(study: Path) -> None:
    told = json.loads((study / find.STEPS).read_text())
    (study / find.STEPS).write_text(json.dumps({**told, "reference": "transfer_atari"}))
    with pytest.raises(ConfigError, match="one of transfer_minatar"):
        report([study])


def test_a_study_whose_reported_steps_have_not_begun_says_so(tmp_path: Path) -> None:
    (tmp_path / "dreamer").mkdir()
    told = {"steps": ["agents", "dreamer"], "report": ["dreamer"], "reference": None}
    (tmp_path / find.STEPS).write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="none of the runs to report"):
        report([tmp_path])
