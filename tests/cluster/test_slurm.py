"""Sweeps on a real SLURM, disturbed in every way that a cluster knows. What goes on must go on exactly."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import assert_same_run
from sweeps import REPOSITORY, WORDS, end, environment, single, start, sweep, until

SLURM = ["hydra/launcher=submitit_slurm"]
SLOW = [*SLURM, "stage.nap=0.1"]  # six seconds


@pytest.fixture(autouse=True)
def _place(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def status(name: str) -> dict[str, Any]:
    return json.loads((Path("runs/train") / name / "status.json").read_text())


def learning(name: str) -> bool:
    """It runs, and has made some updates."""
    file = Path("runs/train", name, "status.json")
    return file.exists() and status(name)["state"] == "running" and status(name)["last"].get("updates", 0) > 0


def states(name: str) -> list[str]:
    """Of all jobs that did a run, as accounting knows them; a requeued job has one line per start."""
    job = status(name)["job"]
    told = subprocess.check_output(["sacct", "-nXPDj", job, "-o", "State"], text=True)
    return [line.split()[0] for line in told.splitlines()]


def submitted() -> list[str]:
    lines = (json.loads(line) for line in Path("runs/train/.submitit/jobs.jsonl").read_text().splitlines())
    return [line["job"] for line in lines]


def test_one_that_fails_leaves_the_others_their_results_and_the_same_command_does_the_rest(tmp_path: Path) -> None:
    there = tmp_path / "there"
    words = [*SLURM, "stage.nap=0.02", f"stage.needs=null,{there}", "seed=1,2", "hydra.launcher.gpus_per_node=1"]
    code, told = sweep(words)
    assert code == 1
    assert "2 of 4 runs finished" in told
    assert f"FileNotFoundError: {there} is missing" in told
    assert "Traceback" not in told
    runs = sorted(Path("runs/train").glob("*/status.json"))
    found = [json.loads(path.read_text()) for path in runs]
    assert sorted(each["state"] for each in found) == ["done", "done", "failed", "failed"]
    gpus = [each["gpu"] for each in found]
    assert sorted(gpus) == ["0", "1", "2", "3"], "each job has a GPU of its own"
    there.touch()
    code, told = sweep(words)
    assert code == 0, told
    assert "submitted 2 jobs" in told, "finished runs need no job"
    assert "4 of 4 runs finished" in told
    assert [json.loads(path.read_text())["attempt"] for path in runs] == [
        2 if e["state"] == "failed" else 1 for e in found
    ]
    log = next(Path("runs/train/.submitit").glob(f"*/{submitted()[-1]}/*.out")).read_text()
    assert "(resumed)" in log, "a failed run goes on from its checkpoint"


def test_a_cancelled_job_saves_itself_and_stops_nobody_else(alone: None) -> None:
    process = start([*SLOW, "name=a,b"])
    until(lambda: learning("b"))
    subprocess.check_call(["scancel", status("b")["job"]])
    code, told = end(process)
    assert code == 1, told
    assert "1 of 2 runs finished" in told
    assert re.search(r"job \d+_1 CANCELLED", told), told
    assert status("b")["state"] == "killed"
    assert Path("runs/train/b/checkpoints/last.ckpt").exists()
    code, told = sweep([*SLOW, "name=a,b"])
    assert code == 0, told
    single(["name=whole"])
    assert_same_run(Path("runs/train/b"), Path("runs/train/whole"))


def test_a_time_limit_costs_nothing() -> None:
    # 100 s of updates; SLURM tells the job to end 30 to 90 s after its start, for it looks every 30 s.
    words = ["budget.updates=500", "data.updates=200"]
    limits = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=30", "hydra.launcher.partition=high"]
    process = start([*SLURM, *words, "stage.nap=0.2", "name=cut", *limits])
    single([*words, "name=whole"])
    code, told = end(process, 400)
    assert code == 0, told
    assert status("cut")["attempt"] >= 2
    assert set(states("cut")[:-1]) == {"REQUEUED"}
    assert_same_run(Path("runs/train/cut"), Path("runs/train/whole"))


@pytest.mark.parametrize("sent", ["usr2", "term"])
def test_a_job_that_gives_way_comes_back_and_goes_on_exactly(sent: str, alone: None) -> None:
    subprocess.check_call([REPOSITORY / "tests/cluster/slurm.sh", "preempt-by", sent])
    # Longer than ten minutes: below that submitit counts every preemption as a time limit.
    wants = ["hydra.launcher.gpus_per_node=4", "hydra.launcher.timeout_min=60", "hydra.launcher.max_num_timeout=0"]
    process = start([*SLOW, "name=cut", *wants])
    until(lambda: learning("cut"))
    subprocess.check_call(["sbatch", "-p", "high", "--gres=gpu:4", "-o", "/dev/null", "--wrap", "sleep 1"])
    until(lambda: status("cut")["state"] == "queued")
    code, told = end(process)
    assert code == 0, told
    assert status("cut")["attempt"] == 2
    assert "1 of 1 runs finished" in told
    single(["name=whole"])
    assert_same_run(Path("runs/train/cut"), Path("runs/train/whole"))


def test_a_sweep_that_is_stopped_or_killed_finds_its_jobs_again(alone: None) -> None:
    words = [*SLURM, "name=a,b", "stage.nap=0.6"]
    process = start(words)
    until(lambda: learning("a"))
    process.send_signal(signal.SIGINT)
    code, told = end(process)
    assert code == 130
    job = submitted()[0].split("_")[0]
    assert "the jobs go on without this command" in told
    assert f"scancel {job}" in told
    process = start(words)
    until(lambda: "still wait or run" in (process.stdout.readline() if process.stdout else ""))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    code, told = sweep(words)
    assert code == 0, told
    assert submitted() == [f"{job}_0", f"{job}_1"], "nothing was submitted twice"
    assert "2 of 2 runs finished" in told
    assert status("a")["attempt"] == 1


def test_a_submission_that_was_taken_although_it_failed_is_not_made_twice(tmp_path: Path, alone: None) -> None:
    real = subprocess.check_output(["which", "sbatch"], text=True).strip()
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    error = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    fake.write_text(f'#!/bin/sh\necho >>{tmp_path}/calls\n{real} "$@" >/dev/null\necho "{error}" >&2\nexit 1\n')
    fake.chmod(0o755)
    code, told = sweep([*SLURM, "seed=1,2"], path=fake.parent)
    assert code == 0, told
    assert "2 of 2 runs finished" in told
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_a_cluster_without_accounting_tells_of_cancelled_jobs(tmp_path: Path, alone: None) -> None:
    fake = tmp_path / "bin" / "sacct"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    fake.chmod(0o755)
    process = start([*SLOW, "name=a"], path=fake.parent)
    until(lambda: Path("runs/train/.submitit/jobs.jsonl").exists())
    subprocess.check_call(["scancel", submitted()[0]])
    code, told = end(process)
    assert code == 1
    assert f"job {submitted()[0]} is gone" in told


def test_options_that_the_cluster_does_not_know_are_told_at_once() -> None:
    code, told = sweep([*SLURM, "name=a", "hydra.launcher.partition=nowhere"])
    assert code == 2
    assert "invalid partition specified: nowhere" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("tasks", ["--ntasks=4", "--ntasks-per-node=2"])
def test_a_plain_run_within_an_allocation_is_one_process(tasks: str) -> None:
    command = shlex.join(["train.py", *WORDS, "name=a"])
    inside = f"cd {Path.cwd()}; {shlex.quote(sys.executable)} {REPOSITORY}/{command}"
    subprocess.run(["salloc", "--quiet", tasks, "bash", "-c", inside], check=True, env=environment(), timeout=120)
    assert status("a")["state"] == "done"
