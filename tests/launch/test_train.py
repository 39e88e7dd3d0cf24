"""A run's life: begun, stopped, killed, resumed, finished, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
import torch

import worldmodels
from worldmodels.callback.guard import DivergedError
from worldmodels.core.errors import LockError, ResumeError
from worldmodels.data.lock import Lock
from worldmodels.evaluation.table import read_csv, read_json
from worldmodels.launch.compose import config
from worldmodels.launch.folder import Folder
from worldmodels.launch.train import Outcome, train

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
TIMES = ("seconds", "updates_per_second")


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))
    return


def run(*words: str) -> Outcome:
    words = ("+experiment=tiny", *words)
    return train(config("train", [f"hydra.searchpath=[{HERE / 'conf'}]", *words]), words)


def start(*words: str) -> ForkProcess:
    """The same in a process of its own; a fork, since a fresh interpreter needs seconds to import torch."""

    def work() -> None:
        outcome = run("stage.nap=0.02", *words)
        raise SystemExit(0 if outcome.signal is None else 128 + outcome.signal)

    process = get_context("fork").Process(target=work)
    process.start()
    return process


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A run that nobody disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        return run(f"paths.runs={tmp_path_factory.mktemp('runs')}", "stage.nap=0.02").folder


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(REPOSITORY)])}


def wait_for(path: Path, process: ForkProcess, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.is_alive(), f"it ended with {process.exitcode}"
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.005)


def learned(folder: Folder) -> dict[str, Any]:
    return torch.load(folder.last, weights_only=True)


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, in every tensor of two checkpoints."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def rows(folder: Folder) -> list[dict[str, float]]:
    return [{k: str(v) for k, v in row.items() if k not in TIMES} for row in read_csv(folder.metrics)]


def assert_same_run(one: Folder, other: Folder) -> None:
    a, b = learned(one), learned(other)
    for part in ("state_dict", "optimizer_states", "global_step", "Data"):
        assert same(a[part], b[part]), part
    assert rows(one) == rows(other)
    ignored = {"took_seconds", "minutes", "updates_per_second"}
    played = [[{**row, **dict.fromkeys(ignored)} for row in read_json(x.evaluation)] for x in (one, other)]
    assert played[0] == played[1]


def test_a_run_leaves_what_a_reader_looks_for() -> None:
    outcome = run()
    folder = outcome.folder
    assert folder.path == Path("runs/train/experiment=tiny")
    for name in ("config.yaml", "spec.json", "provenance.json", "metrics.csv", "evaluation.jsonl", "report.html"):
        assert (folder.path / name).is_file(), name
    assert outcome.result is not None
    assert outcome.result["updates"] == 60
    assert outcome.result["env_steps"] == 40 + 60 * 4
    assert read_csv(folder.metrics)[-1]["updates"] == 56
    assert [row["updates"] for row in read_json(folder.evaluation)] == [20, 40, 60, 60]


@pytest.mark.parametrize("name", ["nan", "7", "0", "true"])
def test_a_name_that_reads_as_a_number_is_a_name(name: str) -> None:
    assert run(f"name={name}", "budget.updates=3").folder.path.name.lower() == name


def test_a_finished_run_returns_its_result_and_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    first = run()
    stamp = first.folder.last.stat().st_mtime_ns
    second = run()
    assert second.result == first.result
    assert first.folder.last.stat().st_mtime_ns == stamp
    assert "finished" in capsys.readouterr().out


def test_force_starts_over_and_keeps_the_old_folder() -> None:
    first = run()
    (first.folder.path / "note.txt").write_text("mine")
    run("force=true")
    assert (first.folder.path.with_name("experiment=tiny.old-1") / "note.txt").read_text() == "mine"
    assert not (first.folder.path / "note.txt").exists()


def test_a_larger_budget_continues_a_finished_run_exactly() -> None:
    run("name=grown", "budget.updates=50")
    grown = run("name=grown")
    at_once = learned(run("name=whole").folder)
    for part in ("state_dict", "optimizer_states", "Data"):
        assert same(learned(grown.folder)[part], at_once[part]), part
    assert rows(grown.folder) == rows(Folder(Path("runs/train/whole")))


def test_a_smaller_budget_of_a_finished_run_returns_its_result_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    first = run("name=a", "budget.updates=30")
    stamp = first.folder.last.stat().st_mtime_ns
    for less in ("budget.updates=20", "budget={updates:900,env_steps:60}", "budget={updates:900,hours:1e-9}"):
        assert run("name=a", less).result == first.result
    assert first.folder.last.stat().st_mtime_ns == stamp
    assert len([row for row in read_json(first.folder.evaluation) if row["final"]]) == 1
    assert "has had this budget and more" in capsys.readouterr().out
    assert run("name=a", "budget={updates:33,hours:1}").result["updates"] == 33  # type: ignore[index]


def test_another_config_in_the_same_folder_is_refused_by_key() -> None:
    run("name=a", "budget.updates=5")
    with pytest.raises(ResumeError, match=r"seed: 0 -> 1"):
        run("name=a", "seed=1")


def test_a_checkpoint_of_another_run_is_refused_by_key() -> None:
    for name, seed in (("a", 0), ("b", 1)):
        run(f"name={name}", f"seed={seed}", "budget.updates=5")
    a, b = (Folder(Path("runs/train", name)) for name in "ab")
    shutil.copy(b.last, a.last)
    with pytest.raises(ResumeError, match=r"(?s)another config.*seed: 1 -> 0"):
        run("name=a", "budget.updates=9")


def test_a_checkpoint_of_other_weights_is_refused_by_name() -> None:
    folder = run("name=a", "budget.updates=5").folder
    kept = learned(folder)
    kept["state_dict"]["net.weight"] = torch.zeros(3, 3)
    torch.save(kept, folder.last)
    with pytest.raises(ResumeError, match=r"net\.weight: \(3, 3\) -> "):
        run("name=a", "budget.updates=9")


def test_half_a_checkpoint_is_refused_for_training_and_for_acting() -> None:
    folder = run("name=a", "budget.updates=5").folder
    for kept in (folder.last.read_bytes()[:1000], b""):
        folder.last.write_bytes(kept)
        with pytest.raises(ResumeError, match="can not be read"):
            run("name=a", "budget.updates=9")
        with pytest.raises(ResumeError, match="can not be read"):
            worldmodels.load(folder.path)


def test_cadences_may_change_and_other_threads_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    run("name=a", "budget.updates=5")
    run("name=a", "budget.updates=9", "callback.score.every=3")
    assert "warning" not in capsys.readouterr().out
    run("name=a", "budget.updates=12", "threads=null")
    assert "threads: 1 -> None" in capsys.readouterr().out


def test_a_second_process_is_refused_by_name_of_the_owner() -> None:
    folder = Path("runs/train/experiment=tiny")
    folder.mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from worldmodels.data.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(folder / ".lock")]
    owner = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(LockError, match=f"process {owner.pid} on"):
        run()
    owner.kill()
    owner.wait()
    assert run("budget.updates=5").result is not None  # the lock of a dead process is no lock


def test_a_nan_loss_keeps_the_good_checkpoint_and_the_batch() -> None:
    with pytest.raises(DivergedError, match=r"update 31.*loss/reward"):
        run("stage.burst_at=31")
    folder = Folder(Path("runs/train/experiment=tiny,stage.burst_at=31"))
    assert learned(folder)["global_step"] == 20
    kept = torch.load(folder.path / "nan_batch.pt", weights_only=True)
    assert kept["update"] == 31
    assert kept["batch"]["reward"].shape == (4, 4)
    assert all(torch.isfinite(w).all() for w in learned(folder)["state_dict"].values())
    Lock(folder.path / ".lock").release()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_that_continues_exactly(number: signal.Signals, whole: Folder) -> None:
    process = start("name=cut")
    folder = Folder(Path("runs/train/cut"))
    wait_for(folder.metrics, process)
    while len(read_csv(folder.metrics)) < 2:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(10)
    assert process.exitcode == 128 + number
    stopped = learned(folder)["global_step"]
    assert 14 <= stopped < 60
    assert stopped % 20, "the test should cut within an epoch"
    run("stage.nap=0.02", "name=cut")
    assert_same_run(whole, folder)


def test_a_killed_run_continues_exactly(whole: Folder) -> None:
    folder = Folder(Path("runs/train/cut"))
    process = start("name=cut")
    wait_for(folder.last, process)
    time.sleep(0.15)
    process.kill()
    process.join()
    assert not folder.done.exists()
    assert learned(folder)["global_step"] in (20, 40)
    run("stage.nap=0.02", "name=cut")
    assert_same_run(whole, folder)


def test_a_run_killed_before_its_first_checkpoint_begins_anew(whole: Folder) -> None:
    folder = Folder(Path("runs/train/cut"))
    process = start("name=cut")
    wait_for(folder.path / "episodes" / "store.json", process)
    process.kill()
    process.join()
    assert not folder.last.exists()
    run("stage.nap=0.02", "name=cut")
    assert_same_run(whole, folder)


def test_a_run_killed_before_its_evaluation_is_only_evaluated() -> None:
    folder = run().folder
    folder.done.unlink()
    stamp = folder.last.stat().st_mtime_ns
    again = run()
    assert again.result is not None
    assert folder.last.stat().st_mtime_ns == stamp
    assert [row["final"] for row in read_json(folder.evaluation)] == [False, False, False, True]


def test_an_interrupted_run_keeps_count_of_its_hours() -> None:
    run("name=a", "budget.updates=20", "stage.nap=0.02")
    before = learned(Folder(Path("runs/train/a")))["callbacks"]["Budget"]["seconds"]
    run("name=a", "budget.updates=40", "stage.nap=0.02")
    after = learned(Folder(Path("runs/train/a")))["callbacks"]["Budget"]["seconds"]
    assert before > 0.4
    assert after > before + 0.4


def test_provenance_tells_every_session() -> None:
    run("name=a", "budget.updates=5")
    run("name=a", "budget.updates=9")
    told = json.loads(Path("runs/train/a/provenance.json").read_text())
    assert told["resume"] == "exact"
    assert len(told["sessions"]) == 2
    assert {"command", "commit", "dirty", "diff", "host", "python", "versions"} <= told["sessions"][0].keys()
