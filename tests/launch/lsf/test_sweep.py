"""`python train.py -m hydra/launcher=submitit_lsf` as a user gives it, on the stand-ins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from runs import assert_same_run
from sweeps import REPOSITORY, end, single, start

from worldmodels.launch.cluster import standing
from worldmodels.launch.lsf.executor import LsfExecutor
from worldmodels.launch.lsf.parameters import known, parameters
from worldmodels.launch.status import Status


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def test_a_sweep_on_lsf_survives_the_run_limit_exactly_and_the_run_that_fails(cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    limits = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=60"]  # four seconds, warned after two
    words = ["hydra/launcher=submitit_lsf", "stage.nap=0.15", "stage.needs=null,missing", "study=cut", *limits]
    process = start(words)
    cluster.until(lambda: any(status(path.parent)["last"] for path in Path("runs/cut").glob("*=null/status.json")))
    cluster.clock.touch()
    cluster.until(lambda: cluster.job("1[1]")["attempts"] > 1)
    cluster.clock.unlink()
    single(["study=whole", "name=whole"])
    code, told = end(process)
    assert code == 1, told
    assert "1 of 2 runs finished" in told
    assert "FileNotFoundError: missing is missing" in told
    cut, failed = (next(Path("runs/cut").glob(f"*={needs}")) for needs in ("null", "missing"))
    assert [status(cut)["state"], status(failed)["state"]] == ["done", "failed"]
    assert status(cut)["attempt"] >= 2
    assert_same_run(cut, Path("runs/whole/whole"))


def test_every_option_of_the_launchers_file_is_one_that_the_executor_takes() -> None:
    config = yaml.safe_load((REPOSITORY / "conf/hydra/launcher/submitit_lsf.yaml").read_text())
    for name in ("_target_", "submitit_folder", "max_num_timeout"):
        del config[name]
    config["job_name"], config["time"] = config.pop("name"), config.pop("timeout_min")
    assert set(config) <= LsfExecutor._valid_parameters()
    assert {*known(), "python"} - set(config) == {"array_size"}
    config.pop("python")
    parameters(config)


def test_a_run_that_lsf_killed_is_told_of_although_it_knows_its_job_by_lsfs_word(tmp_path) -> None:
    Status("running", job="7[2]").write(tmp_path)
    standing.lost(tmp_path, "7_3", "another's job")
    assert status(tmp_path)["state"] == "running"
    standing.lost(tmp_path, "7_2", "job 7_2 CANCELLED")
    assert status(tmp_path)["state"] == "killed"
