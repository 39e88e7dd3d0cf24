"""Studies and lists become runs, go on where they stopped, and are told from nonsense before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from worldmodels import command
from worldmodels.core.errors import ConfigError
from worldmodels.launch.sweep import study_lines

QUICK = ["env=dummy", "stage=dqn", "data=replay", "data.warmup=64", "data.updates=2", "data.width=2"]
QUICK += ["data.sampler.length=1", "data.piece=4", "budget={updates:2,env_steps:null}", "evaluation.episodes=2"]
STUDY = {
    "name": "two",
    "words": QUICK,
    "grid": {"stage.discount": [0.9, 0.8]},
    "list": None,
    "seeds": [0, 1],
    "launcher": "basic",
    "resources": {},
}


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**changes: object) -> None:
    Path("own/studies").mkdir(parents=True, exist_ok=True)
    Path("own/studies/two.yaml").write_text(yaml.safe_dump({**STUDY, **changes}))


def configs() -> list[dict]:
    return [yaml.safe_load((path.parent / "config.yaml").read_text()) for path in Path("runs").rglob("done.json")]


def test_a_study_becomes_runs_and_one_table_once(capsys: pytest.CaptureFixture[str]) -> None:
    write()
    assert command.main(["sweep", "--config-dir", "own", "study=two"]) == 0
    assert {(each["stage"]["discount"], each["seed"]) for each in configs()} == {
        (discount, seed) for discount in (0.9, 0.8) for seed in (0, 1)
    }
    assert "4 of 4 runs finished" in capsys.readouterr().out
    assert Path("runs/two/report/report.html").is_file()
    assert command.main(["sweep", "--config-dir", "own", "study=two", "report=false"]) == 0
    attempts = [json.loads(path.read_text())["attempt"] for path in Path("runs").rglob("status.json")]
    assert attempts == [1, 1, 1, 1], "what is finished is not run again"


def test_words_of_the_command_line_hold_for_all_runs_of_a_study() -> None:
    write()
    words = ["seeds=[5]", "stage.discount=0.7", "report=false", "evaluation.episodes=1"]
    write(grid={"stage.lr": [0.1, 0.2]})
    assert command.main(["sweep", "--config-dir=own", "study=two", *words]) == 0
    assert {(each["stage"]["discount"], each["stage"]["lr"], each["seed"]) for each in configs()} == {
        (0.7, 0.1, 5),
        (0.7, 0.2, 5),
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "neither a study nor a list"),
        (["study=demo_seeds", "seed=4", "budget.updates=-1"], "seeds=[...]"),
        (["study=demo_seeds", "++paths.runs=elsewhere", "budget.updates=-1"], "runs=<folder>"),
        (["study=transfer_minatar", "dreamer:seed=4", "budget.updates=-1"], "seeds=[...]"),
        (["study=nothing"], "there is no study named 'nothing'\n  expected: one of demo_seeds"),
        (["study=demo_seeds", "config_file=list.json"], "a study and a list"),
        (["config_file=missing.json"], "missing.json"),
    ],
)
def test_what_can_not_be_a_sweep_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["sweep", *words]) == 2
    assert told in capsys.readouterr().err
    assert not list(Path().rglob("status.json"))


def test_a_study_with_a_misspelt_key_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write(gird={"stage.lr": [0.1]})
    assert command.main(["sweep", "--config-dir", "own", "study=two"]) == 2
    assert "gird" in capsys.readouterr().err


def test_options_that_have_no_say_in_a_study_are_refused_with_those_that_have(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write()
    assert command.main(["sweep", "--config-dir", "own", "study=two", "gpus=[7]", "timeout=60"]) == 2
    told = capsys.readouterr().err
    assert "gpus, timeout with a study" in told
    assert "+resources.gpus" in told
    assert not list(Path("runs").rglob("*"))


def test_options_of_the_gpu_queue_are_refused_for_a_list_on_another_launcher(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("list.json").write_text('[{"seed": 1}]')
    assert command.main(["sweep", "config_file=list.json", "launcher=joblib", "gpus=[0]", "timeout=60"]) == 2
    told = capsys.readouterr().err
    assert "gpus, timeout with launcher=joblib" in told
    assert "leave out gpus, timeout, or launcher=joblib" in told
    assert not Path("runs").exists()


def test_a_finished_list_checks_its_options_and_writes_its_results_again(capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.json").write_text('[{"stage.discount": 0.9}]')
    words = ["sweep", "config_file=list.json", "report=false", *QUICK]
    assert command.main([*words, "launcher=basic"]) == 0
    assert command.main([*words, "gpus=[77]"]) == 2
    assert "there is no GPU 77" in capsys.readouterr().err
    Path("out.json").write_text('[{"model_name": "of another list"}]')
    assert command.main([*words, "gpus=[]", "output_file=out.json"]) == 0
    other, record = json.loads(Path("out.json").read_text())
    assert other == {"model_name": "of another list"}
    assert (record["hyperparams"]["stage.discount"], record["success"], record["returncode"]) == (0.9, True, 0)
    assert record["duration_seconds"] > 0
    (status,) = Path("runs").rglob("status.json")
    assert json.loads(status.read_text())["attempt"] == 1


def test_a_grid_multiplies_and_a_list_does_not() -> None:
    lines = study_lines({**STUDY, "grid": {"a": [1, 2], "b": ["x"]}, "list": [{"c": None}], "seeds": [0]})
    assert lines == [["c=null", "seed=0"], ["a=1", "b=x", "seed=0"], ["a=2", "b=x", "seed=0"]]
    assert study_lines({**STUDY, "grid": {}, "seeds": [3]}) == [["seed=3"]]


def test_a_grid_of_single_values_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"grid\.a=1"):
        study_lines({**STUDY, "grid": {"a": 1}})
