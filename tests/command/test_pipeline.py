"""A study of steps: one command runs all that is left, and a failure stops what depends on it and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from worldmodels import command

QUICK = ["env=dummy", "stage=dqn", "data=replay", "data.warmup=64", "data.updates=2", "data.width=2"]
QUICK += ["data.sampler.length=1", "data.piece=4", "budget={updates:2,env_steps:null}", "evaluation.episodes=2"]
ROOT = Path("runs/steps")
STUDY: dict[str, Any] = {
    "name": "steps",
    "seeds": [0, 1],
    "launcher": "gpu_queue",
    "resources": {"gpus": []},  # of the queue, which `launcher=basic` does not know
    "report": ["learners"],
    "reference": None,
    "steps": {
        "agents": {"words": [*QUICK, "stage.lr=0.5"], "grid": {"stage.discount": [0.9, 0.8]}, "seeds": [0]},
        "recordings": {"verb": "record", "words": ["env=dummy", "steps=32", "width=2"]},
        "learners": {
            "words": QUICK,
            "list": [
                {"stage.discount": 0.7, "init": "{agents stage.discount=0.9}"},
                {"stage.discount": 0.6, "init": "{agents stage.discount=0.8}"},
            ],
        },
    },
}


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**changes: Any) -> None:
    study = {**STUDY, **changes}
    Path("own/studies").mkdir(parents=True, exist_ok=True)
    Path("own/studies/steps.yaml").write_text(yaml.safe_dump(study))


def sweep(*words: str) -> int:
    return command.main(["sweep", "--config-dir", "own", "study=steps", "launcher=basic", *words])


def statuses() -> dict[str, dict[str, Any]]:
    found = {path.parent: json.loads(path.read_text()) for path in ROOT.rglob("status.json")}
    return {folder.relative_to(ROOT).as_posix(): told for folder, told in found.items()}


def test_steps_run_in_their_order_with_the_folders_of_others_and_only_what_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = STUDY["steps"]
    write(
        steps={
            **steps,
            "agents": {**steps["agents"], "grid": {}, "list": [{"stage.discount": 0.9}]},
            "learners": {"words": QUICK, "list": [{"stage.discount": 0.7, "init": "{agents}"}]},
        }
    )
    assert sweep("seeds=[0]", "report=false") == 0
    assert set(statuses()) == {
        "agents/seed=0,stage.discount=0.9",
        "recordings/seed=0",
        "learners/seed=0,stage.discount=0.7",
    }
    assert (ROOT / "recordings/seed=0/episodes/store.json").is_file()
    told = json.loads((ROOT / "learners/seed=0,stage.discount=0.7/provenance.json").read_text())
    assert told["init"]["folder"] == str(ROOT / "agents/seed=0,stage.discount=0.9")
    capsys.readouterr()
    assert sweep("report=false") == 0
    assert {each["attempt"] for each in statuses().values()} == {1}
    assert "5 of 5 runs of all steps finished" in capsys.readouterr().out
    assert command.main(["jobs", "status", "steps"]) == 0
    assert "recordings/seed=1" in capsys.readouterr().out


def test_a_failure_stops_what_depends_on_it_and_says_so_and_the_next_call_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = STUDY["steps"]
    wrong = {**steps["agents"], "grid": {}, "list": [{"stage.discount": 0.9}, {"stage.discount": 0.8, "init": "none"}]}
    write(steps={**steps, "agents": wrong}, seeds=[0])
    assert sweep("report=false") == 1
    told = capsys.readouterr().out
    assert "waits    learners/seed=0,stage.discount=0.6: it needs agents/init=none,seed=0,stage.discount=0.8" in told
    assert "missing  agents/init=none,seed=0,stage.discount=0.8: failed, " in told
    assert {name for name, each in statuses().items() if each["state"] == "done"} == {
        "agents/seed=0,stage.discount=0.9",
        "recordings/seed=0",
        "learners/seed=0,stage.discount=0.7",
    }
    write(seeds=[0])
    assert sweep("report=false") == 0
    assert statuses()["learners/seed=0,stage.discount=0.6"]["state"] == "done"


def test_what_later_runs_were_made_from_is_not_changed_under_them(capsys: pytest.CaptureFixture[str]) -> None:
    steps = STUDY["steps"]
    write(
        seeds=[0],
        report=["learners"],
        steps={
            "agents": {**steps["agents"], "grid": {}},
            "recordings": steps["recordings"],
            "learners": {"words": [*QUICK, "init={agents}"]},
        },
    )
    assert sweep("report=false") == 0
    before = statuses()
    for words, told in (
        (["agents:budget.updates=4"], "agents/seed=0 is not finished as this command has it, and learners/seed=0"),
        (["agents:stage.lr=0.4"], "stage.lr: 0.5 -> 0.4"),
        (["learners:stage.lr=0.4"], "-> 0.4"),
    ):
        capsys.readouterr()
        assert sweep("report=false", *words) == 2
        assert told in capsys.readouterr().err
    assert statuses() == before
    assert sweep("report=false", "learners:budget.updates=4", "callback.meter.every=7") == 0
    assert statuses()["learners/seed=0"]["last"]["updates"] == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["agents:stage.lrr=1"], "stage.lrr"),
        (["learner:stage.lr=1"], "did you mean learners?"),
        (["recordings:stepps=1"], "stepps"),
    ],
)
def test_a_wrong_word_is_told_before_anything_starts(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    assert sweep(*words) == 2
    assert told in capsys.readouterr().err
    assert not statuses()


def test_a_study_of_steps_names_all_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    write(report=["lerners"])
    assert sweep() == 2
    assert "did you mean learners?" in capsys.readouterr().err
    write(words=[])
    assert sweep() == 2
    assert "has words" in capsys.readouterr().err
