"""The original sweep tool's command line."""

from __future__ import annotations

import pytest

from worldmodels.command import run
from worldmodels.command.train_sweep import words


def test_every_flag_of_the_original_is_taken_as_it_was() -> None:
    line = (
        "--config-file a.json --gpus 0 1 3 --output-file out.json --timeout 60 --max-processes-per-gpu 2 "
        "--memory-threshold-gb 12.5 --disable-gpu-monitoring"
    )
    assert words(line.split()) == [
        *("config_file=a.json", "gpus=[0,1,3]", "output_file=out.json", "timeout=60", "max_processes_per_gpu=2"),
        *("memory_threshold_gb=12.5", "disable_gpu_monitoring=true"),
    ]


def test_the_defaults_are_the_original_s() -> None:
    assert words(["--gpus", "0"]) == [
        *("config_file=train_sweep_config.json", "gpus=[0]", "output_file=train_sweep_results.json", "timeout=36000"),
        *("max_processes_per_gpu=1", "memory_threshold_gb=40.0", "disable_gpu_monitoring=false"),
    ]


def test_words_follow_and_no_gpu_means_cpus() -> None:
    found = words(["--gpus", "--timeout", "5", "--", "style=seed", "budget.updates=2"])
    assert found[1] == "gpus=[]"
    assert found[-2:] == ["style=seed", "budget.updates=2"]


def test_a_list_that_is_not_there_is_told_with_an_example(
    capsys: pytest.CaptureFixture[str], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("train-sweep", ["--gpus", "--config-file", "none.json"]) == 2
    assert "there is no file none.json" in capsys.readouterr().err
