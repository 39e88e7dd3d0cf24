"""What the command line says to words that are wrong, and that it ends with the right code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from worldmodels import command
from worldmodels.launch.words import DEMO, with_demo

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("budget.updats=3", "did you mean budget.updates"),
        ("stag=dqn", "did you mean stage"),
        ("stage=dqm", "did you mean dqn"),
        ("env=minatr", "did you mean minatar"),
        ("env.game=brekout", "breakout"),
        ("+experiment=dqn_minata", "did you mean dqn_minatar"),
        ("logger=wand", "did you mean wandb"),
        ("stage=null", "a group takes a name"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["train", word, "budget.updates=1"]) == 2
    told = capsys.readouterr().err
    assert hint in told
    assert "Traceback" not in told
    assert "do:" in told
    assert not list(Path().rglob("*.ckpt"))


def test_help_of_every_verb_is_its_docstring_and_what_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for verb in command.verbs():
        assert f"  {verb} " in overview
    for verb in ("train", "record", "count"):
        assert command.main([verb, "--help"]) == 0
        told = capsys.readouterr().out
        assert f"worldmodels {verb}" in told
        assert re.search(r"^  env= +atari .*\bminatar$", told, re.MULTILINE)
        assert (verb != "record") == ("dqn_minatar" in told.partition("Choices:")[2])
        assert (verb == "record") == ("record_multi_env" in told)


def test_an_unknown_verb_gets_the_closest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["trian"]) == 2
    assert "did you mean train" in capsys.readouterr().err


def test_the_script_trains_from_any_folder_and_prints_its_config(tmp_path: Path) -> None:
    script = [sys.executable, str(REPOSITORY / "train.py"), "--cfg", "job", "seed=7"]
    told = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "seed: 7" in told.stdout
    assert not list(tmp_path.iterdir())


def test_configs_of_a_users_own_folder_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    place = str(REPOSITORY / "tests" / "launch" / "conf")
    assert command.main(["train", "--config-dir", place, "--cfg", "job", "+experiment=tiny"]) == 0
    assert "tiny.Tiny" in capsys.readouterr().out


def test_without_any_choice_the_demo_is_meant() -> None:
    assert with_demo(["--cfg", "job", "seed=1"]) == ["--cfg", "job", DEMO, "seed=1"]
    assert with_demo(["seed=1", "stage=dqn"]) == ["seed=1", "stage=dqn"]


def test_a_rollout_that_has_begun_is_learned_from_to_its_end() -> None:
    words = ["env=dummy", "stage=ppo", "data=rollout", "data.width=2", "data.steps=8", "budget.updates=2"]
    assert command.main(["train", *words, "data.passes=2", "data.minibatches=4", "evaluation.episodes=2"]) == 0
    (done,) = Path("runs").rglob("done.json")
    assert json.loads(done.read_text())["updates"] == 8


def test_a_run_that_could_not_be_built_leaves_its_name_to_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["stage=dqn", "data=replay", "data.warmup=64", "data.updates=2", "data.width=2", "data.sampler.length=1"]
    words += ["data.piece=4", "budget={updates:2,env_steps:null}", "evaluation.episodes=2", "name=x"]
    assert command.main(["train", "env=minatar", "env.game=brekout", *words]) == 2
    assert "brekout" in capsys.readouterr().err
    assert command.main(["train", "env=dummy", *words]) == 0
