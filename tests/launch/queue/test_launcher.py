"""`hydra/launcher=gpu_queue` with real trainings, and what it makes of command lines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from worldmodels import command
from worldmodels.core.errors import ConfigError
from worldmodels.launch.folder import run_name
from worldmodels.launch.queue.launcher import _labels, _named, _tail, _values
from worldmodels.launch.status import Status

CONF = str(Path(__file__).parents[1] / "conf")
TINY = ["--config-dir", CONF, "+experiment=tiny"]
QUEUE = ["hydra/launcher=gpu_queue", "hydra.launcher.gpus=[]", "hydra.launcher.slots=2"]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(CONF).parent))  # where tiny.py is found


def test_runs_are_the_same_as_train_would_make_and_a_failed_one_stops_no_other(
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = [*TINY, "stage.burst_at=null,3", "evaluation.episodes=2", "study='two words'", *QUEUE]
    assert command.main(["train", "-m", *words, "hydra.launcher.results_file=out.json"]) == 1
    study = Path("runs/two words")
    names = {path.name for path in study.iterdir() if path.is_dir()}
    common = ["+experiment=tiny", "evaluation.episodes=2"]
    assert names == {run_name([*common, f"stage.burst_at={value}"]) for value in ("null", "3")}
    good, bad = sorted(json.loads(Path("out.json").read_text()), key=lambda record: not record["success"])
    assert good["hyperparams"]["stage.burst_at"] is None
    assert not {"study", "name", "paths.runs"} & set(good["hyperparams"])  # the original's are what a list says
    assert bad["returncode"] != 0
    told = capfd.readouterr()
    assert "burst_at=3" in told.err
    assert "stderr.log" in told.err
    status = Status.read(study / bad["model_name"])
    assert status is not None
    assert (status.state, status.launcher, status.gpu) == ("failed", "gpu_queue", "")


def test_ctrl_c_ends_with_130_and_runs_that_saved() -> None:
    words = [*TINY, "stage.nap=0.2", "seed=0,1", "study=stop", *QUEUE]
    argv = [sys.executable, "-m", "worldmodels", "train", "-m", *words]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    study, end = Path("runs/stop"), time.monotonic() + 60
    while time.monotonic() < end and len(list(study.glob("*/metrics.csv"))) < 2:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 130, told
    assert "2 interrupted" in told
    states = [Status.read(path.parent) for path in study.glob("*/status.json")]
    assert [status.state for status in states if status] == ["killed", "killed"]
    assert len(list(study.glob("*/checkpoints/last.ckpt"))) == 2


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("gpus=[93]", "there is no GPU 93"),
        ("gpus_per_job=2", "gpus_per_job=2, and 1 to choose from"),
        ("style=other", "style=other"),
        ("threads=0", "threads=0"),
        ("slots=0", "slots=0"),
        ("job_timeout_s=1h", "job_timeout_s=1h"),
        ("env=WANDB", "env='WANDB'"),
        ("fail_fast=1", "fail_fast=1"),
        ("retry_on=['(']", "retry_on: '('"),
        ("job_timeout_s=-1", "job_timeout_s=-1"),
        ("probe=nothing", "probe=nothing"),
        ("results_file=/proc/no/out.json", "can not be written"),
    ],
)
def test_options_that_can_not_be_are_refused_before_anything_starts(
    word: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "-m", *TINY, "seed=0,1", *QUEUE, f"hydra.launcher.{word}"]
    assert command.main(words) == 2
    assert told in capsys.readouterr().err
    assert not list(Path("runs").rglob("stdout.log"))


def test_a_file_that_is_no_list_of_results_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.json").write_text('[{"seed": 1}]')
    assert command.main(["train", "-m", *TINY, "seed=0,1", *QUEUE, "hydra.launcher.results_file=mine.json"]) == 2
    assert "is no file of results" in capsys.readouterr().err
    assert Path("mine.json").read_text() == '[{"seed": 1}]'


def test_labels_are_what_differs_with_short_keys_where_those_are_clear() -> None:
    rows = [["+experiment=x", "stage.lr=1", "env.game=a", "data.width=1"]]
    rows += [["+experiment=x", "stage.lr=2", "env.game=b", "stage.width=1"]]
    assert _labels(rows) == ["lr=1 game=a data.width=1", "lr=2 game=b stage.width=1"]


def test_options_are_read_from_words_as_plain_data() -> None:
    words = ["+a.b='x,y'", "c=[1,null,true]", "d={e:1}", "env=minatar", "~logger", "f=1e-3", "g='1'"]
    assert _values(words) == {
        **{"a.b": "x,y", "c": [1, None, True], "d": {"e": 1}, "env": "minatar", "f": 1e-3, "g": "1"},
    }


def test_names_of_the_original_are_given_as_words_and_own_names_stay() -> None:
    assert _named([["frameskip=5"], ["frameskip=6"]]) == [
        *(["frameskip=5", "name='fs_5'"], ["frameskip=6", "name='fs_6'"]),
    ]
    assert _named([["frameskip=5", "name=a"]]) == [["frameskip=5", "name=a"]]
    with pytest.raises(ConfigError, match="the same name"):
        _named([["frameskip=5", "seed=0"], ["frameskip=5", "seed=1"]])


def hydra(**changed: Any) -> Any:
    tree = {
        "job": {"config_name": "train"},
        "overrides": {"hydra": ["hydra/launcher=gpu_queue", "hydra.launcher.slots=2", "hydra.mode=MULTIRUN"]},
        "runtime": {"config_sources": [{"path": "/c", "provider": "main"}, {"path": "/d", "provider": "command-line"}]},
    }
    return OmegaConf.create({"hydra": {**tree, **changed}})


def test_a_run_finds_the_same_configs_as_the_queue() -> None:
    assert _tail(hydra()) == ["--config-dir", "/d"]
    assert _tail(hydra(overrides={"hydra": ["hydra.searchpath=[file:///x]", "hydra.sweep.dir=y"]})) == [
        *("hydra.searchpath=[file:///x]", "--config-dir", "/d"),
    ]
    assert _tail(hydra(job={"config_name": "mine"}))[:2] == ["--config-name", "mine"]
    with pytest.raises(ConfigError, match="record"):
        _tail(hydra(job={"config_name": "record"}))
