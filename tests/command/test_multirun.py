"""Many runs from one command: no folder twice, nothing done twice, and no failure that stops the others."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from worldmodels import command
from worldmodels.data.lock import Lock
from worldmodels.launch import multirun
from worldmodels.launch.compose import config
from worldmodels.launch.folder import run_name
from worldmodels.launch.status import Status

QUICK = ["env=dummy", "stage=dqn", "data=replay", "data.warmup=64", "data.updates=2", "data.width=2"]
QUICK += ["data.sampler.length=1", "data.piece=4", "budget={updates:2,env_steps:null}", "evaluation.episodes=2"]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def states() -> list[str]:
    return sorted(json.loads(path.read_text())["state"] for path in Path("runs").rglob("status.json"))


def changed() -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path("runs").rglob("done.json")}


def test_a_failed_run_stops_no_other_and_the_same_command_does_only_what_is_left(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Without steps before the first update there is nothing to learn from: that run fails.
    words = ["-m", *QUICK[:3], "data.warmup=64,0", *QUICK[4:], "seed=0,1"]
    assert command.main(["train", *words]) == 1
    assert states() == ["done", "done", "failed", "failed"]
    first = capfd.readouterr()
    assert "2 of 4 runs finished" in first.out
    assert "nothing to draw from" in first.out
    assert "Warning" not in first.err
    before = changed()
    assert command.main(["train", *words]) == 1
    assert changed() == before
    attempts = sorted(json.loads(path.read_text())["attempt"] for path in Path("runs").rglob("status.json"))
    assert attempts == [1, 1, 2, 2]


def test_a_finished_multirun_does_nothing_and_force_starts_it_over_beside_the_old_runs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["train", "-m", *QUICK, "seed=0,1"]) == 0
    seeds = [yaml.safe_load((Path(path).parent / "config.yaml").read_text())["seed"] for path in changed()]
    assert sorted(seeds) == [0, 1]
    before = changed()
    capfd.readouterr()
    assert command.main(["train", "-m", *QUICK, "seed=0,1"]) == 0
    assert changed() == before
    assert "2 of 2 runs finished" in capfd.readouterr().out
    assert command.main(["train", "-m", *QUICK, "seed=0,1", "force=true"]) == 0
    assert len(changed()) == 4
    assert not before.items() <= changed().items()


def test_a_larger_budget_continues_finished_runs() -> None:
    words = [word for word in QUICK if not word.startswith("budget")]
    limit = "budget={updates:%d,env_steps:null}"
    assert command.main(["train", "-m", *words, "name=one", limit % 2]) == 0
    assert command.main(["train", "-m", *words, "name=one", limit % 4]) == 0
    assert json.loads(Path("runs/train/one/done.json").read_text())["updates"] == 4


@pytest.mark.parametrize("words", [["name=one", "seed=0,1"], ["threads=1,2"], ["logger=csv,tensorboard"]])
def test_runs_that_would_share_a_folder_are_refused_before_any_starts(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["train", "-m", *QUICK, *words]) == 2
    assert "two runs share the folder" in capsys.readouterr().err
    assert not list(Path().rglob("status.json"))


def test_a_name_may_be_made_of_what_runs_differ_in() -> None:
    lines = [[*QUICK, "name=r_${seed}", f"seed={seed}"] for seed in (3, 4)]
    jobs = multirun.plan(lambda words: config("train", words), lines)
    assert [job.folder.path for job in jobs] == [Path("runs/train/r_3"), Path("runs/train/r_4")]


def test_a_wrong_word_is_told_before_any_run_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["train", "-m", *QUICK, "seed=0,1", "stage.epsilonn=1,2"]) == 2
    assert "epsilonn" in capsys.readouterr().err
    assert not list(Path().rglob("status.json"))


def test_an_unknown_launcher_is_told_with_all_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["train", "-m", *QUICK, "seed=0,1", "hydra/launcher=jobblib"]) == 2
    told = capsys.readouterr().err
    assert "basic, gpu_queue, joblib, submitit_local" in told


def test_a_launcher_that_refuses_leaves_no_run_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", *QUICK, "seed=0,1", "hydra/launcher=gpu_queue"]
    failed = Status("failed", ("seed=0",), attempt=1, error="as it was")
    failed.write(Path("runs/train") / run_name([*QUICK, "seed=0"]))
    assert command.main(["train", *words, "hydra.launcher.gpus=[77]"]) == 2
    assert "no GPU 77" in capsys.readouterr().err
    assert [Status.read(path.parent) for path in Path("runs").rglob("status.json")] == [failed]
    assert len([path for path in Path("runs/train").iterdir() if path.is_dir()]) == 1


def test_two_sweeps_of_one_study_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("runs/train")
    folder.mkdir(parents=True)
    script = "import sys, time; from pathlib import Path; from worldmodels.data.lock import Lock\n"
    script += "lock = Lock(Path(sys.argv[1])); print('up', flush=True); time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", script, str(folder / ".sweep.lock")], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        assert command.main(["train", "-m", *QUICK, "seed=0,1"]) == 2
        told = capsys.readouterr().err
        assert "another sweep" in told
        assert str(other.pid) in told
        assert not list(Path().rglob("status.json"))
    finally:
        other.kill()
        other.wait()
    Lock(folder / ".sweep.lock").release()


def test_ctrl_c_ends_the_whole_multirun_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = ["-m", *QUICK[:3], "data.warmup=64", "data.updates=2", "data.width=2", *QUICK[6:8], "seed=0,1"]
    words += ["budget={updates:200000,env_steps:null}", "evaluation.episodes=2"]
    process = subprocess.Popen([sys.executable, "-m", "worldmodels", "train", *words], stderr=subprocess.DEVNULL)
    try:
        while "running" not in states() or not list(Path("runs").rglob("metrics.csv")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(2)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    told = {path.parent.name[-6:]: Status.read(path.parent) for path in Path("runs").rglob("status.json")}
    assert sorted(status.state for status in told.values() if status) == ["killed", "queued"]


def test_a_list_of_runs_in_json_becomes_runs_with_every_seed() -> None:
    Path("list.json").write_text(json.dumps([{"stage.discount": 0.9}, {"stage.discount": 0.8}]))
    listed = ["hydra/sweeper=json_list", "hydra.sweeper.file=list.json", "hydra.sweeper.seeds=[3,4]"]
    assert command.main(["train", "-m", *listed, *QUICK]) == 0
    configs = [yaml.safe_load((path.parent / "config.yaml").read_text()) for path in Path("runs").rglob("done.json")]
    pairs = {(config["stage"]["discount"], config["seed"]) for config in configs}
    assert pairs == {
        (0.9, 3),
        (0.9, 4),
        (0.8, 3),
        (0.8, 4),
    }


def test_a_wrong_type_in_a_list_is_told_with_its_line_before_any_run_starts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.json").write_text('[\n {"stage.discount": 0.9},\n {"stage.discount": "high"}\n]')
    listed = ["hydra/sweeper=json_list", "hydra.sweeper.file=list.json"]
    assert command.main(["train", "-m", *listed, *QUICK]) == 2
    assert "line 3, key 'stage.discount'" in capsys.readouterr().err
    assert not list(Path().rglob("status.json"))


def test_a_search_survives_failed_runs_and_goes_on_where_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", *QUICK[:3], *QUICK[4:]]
    words += ["stage.discount=interval(0.5,0.99)", "data.warmup=choice(0,64)", "seed=3"]
    assert command.main(["train", *words]) == 0
    assert "best " in capfd.readouterr().out
    assert set(states()) == {"done", "failed"}
    before, count = changed(), len(states())
    assert command.main(["train", *words]) == 0
    assert changed() == before
    assert command.main(["train", *words, "hydra.sweeper.n_trials=6"]) == 0
    assert len(states()) == count + 2
    assert changed().items() >= before.items()
