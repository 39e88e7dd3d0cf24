"""Queues of real processes: what ends, what is killed, what is written, and what outlives a queue that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from real import queue

from worldmodels.launch.queue.group import members
from worldmodels.launch.queue.nouns import Device, Outcome
from worldmodels.launch.status import Status

SCRIPT = Path(__file__).parent / "real.py"
LENGTH = f"300.{os.getpid()}"  # tells our sleepers from those of tests beside these
SLEEPER = f"sleep {LENGTH}"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a process behind."""
    before = set(psutil.pids())
    yield
    left = []
    for pid in set(psutil.pids()) - before:
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and LENGTH in " ".join(process.cmdline()):
                left.append(process)
        except psutil.NoSuchProcess:
            continue
    for process in left:
        process.kill()
    assert not left


def until(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What it returns once that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def begin(folder: Path, **options: Any) -> subprocess.Popen[str]:
    """A queue in a process of its own."""
    folder.mkdir(exist_ok=True)
    argv = [sys.executable, str(SCRIPT), str(folder), json.dumps(options)]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)


def pid_of(folder: Path, run: int) -> int | None:
    status = Status.read(folder / str(run))
    return status.pid if status and status.state == "running" else None


def test_runs_end_in_any_order_and_are_told_in_theirs(tmp_path: Path) -> None:
    done = queue(tmp_path, ["sleep 0.3", "exit 3", "true"], slots=2)
    assert [run.outcome for run in done.runs] == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert [run.code for run in done.runs] == [0, 3, 0]
    assert [Status.read(run.folder).state for run in done.runs] == ["done", "failed", "done"]  # type: ignore[union-attr]


def test_never_more_runs_than_slots(tmp_path: Path) -> None:
    """Each run notes how many there are while it runs."""
    mark = f"touch {tmp_path}/$$.on; sleep 0.1; ls {tmp_path}/*.on | wc -l >> {tmp_path}/counts; rm {tmp_path}/$$.on"
    queue(tmp_path, [mark] * 9, slots=3)
    assert max(map(int, (tmp_path / "counts").read_text().split())) == 3


def test_each_run_sees_its_gpu_alone_and_its_thread_cap(tmp_path: Path) -> None:
    devices = [Device(str(number), 1, visible=str(number)) for number in (2, 3)]
    done = queue(tmp_path, ["echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER $OMP_NUM_THREADS"] * 2, devices=devices)
    assert [run.tail("stdout.log", 9) for run in done.runs] == ["2 PCI_BUS_ID 1", "3 PCI_BUS_ID 1"]


def test_a_run_that_ignores_term_goes_with_its_whole_group(tmp_path: Path) -> None:
    began = time.monotonic()
    done = queue(tmp_path, [f"trap '' TERM; {SLEEPER} & {SLEEPER}", "true"], slots=1, job_timeout_s=0.5, grace_s=0.5)
    assert [run.outcome for run in done.runs] == [Outcome.TIMED_OUT, Outcome.DONE]
    assert time.monotonic() - began < 20, "it does not wait for what it killed"
    status = Status.read(tmp_path / "0")
    assert status is not None
    assert status.state == "killed"
    assert status.error == "timed out after 0.5 s"
    assert not members(status.pid or 0)


def test_a_run_may_save_when_its_time_is_over(tmp_path: Path) -> None:
    done = queue(tmp_path, ["trap 'echo saved; exit 143' TERM; while :; do sleep 0.05; done"], job_timeout_s=0.5)
    assert done.runs[0].tail("stdout.log", 1) == "saved"
    assert done.runs[0].outcome is Outcome.TIMED_OUT


def test_what_outlives_a_run_is_killed_before_its_place_is_given_on(tmp_path: Path) -> None:
    done = queue(tmp_path, [f"(trap '' TERM; {SLEEPER}) & echo $!"], slots=1)
    orphan = int(done.runs[0].tail("stdout.log", 1))
    assert done.runs[0].outcome is Outcome.DONE
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE


def test_running_out_of_memory_is_tried_again_and_both_attempts_stay_in_the_log(tmp_path: Path) -> None:
    command = f"test -e {tmp_path}/once && exit 0; touch {tmp_path}/once; echo 'CUDA out of memory' >&2; exit 1"
    done = queue(tmp_path, [command], retries=1)
    assert done.runs[0].outcome is Outcome.DONE
    log = (tmp_path / "0" / "stderr.log").read_text()
    assert log.count("==== attempt") == 2
    assert "CUDA out of memory" in log
    assert [line["what"] for line in ledger(tmp_path)] == ["started", "retrying", "started", "ended"]


def test_a_command_that_does_not_exist_fails_alone(tmp_path: Path) -> None:
    from real import runs

    from worldmodels.launch.queue.nouns import Rules
    from worldmodels.launch.queue.probe import Blind
    from worldmodels.launch.queue.queue import Queue

    work = runs(tmp_path, ["true", "true"])
    work[0].argv = ("/nowhere/python",)
    Queue(work, [Device("cpu", 1)], Rules(), Blind()).run()
    assert [run.outcome for run in work] == [Outcome.FAILED, Outcome.DONE]
    assert "/nowhere/python" in work[0].error


def test_the_file_of_results_is_the_original_s(tmp_path: Path) -> None:
    queue(tmp_path, ["seq 80; seq 200 >&2; exit 1", "true"], slots=1)
    failed, done = json.loads((tmp_path / "results.json").read_text())
    assert list(failed) == [
        *("model_name", "hyperparams", "success", "returncode", "duration_seconds", "gpu_id", "stdout", "stderr"),
    ]
    assert (failed["success"], failed["returncode"], failed["hyperparams"]) == (False, 1, {"seed": 0})
    assert len(failed["stdout"].splitlines()) == 50
    assert len(failed["stderr"].splitlines()) == 100
    assert (done["success"], done["returncode"], done["stdout"]) == (True, 0, "")


def test_records_of_runs_that_are_not_run_again_stay_in_the_file(tmp_path: Path) -> None:
    from real import runs

    from worldmodels.launch.queue.record import Results

    one, other = runs(tmp_path, ["true", "true"])
    first = Results(tmp_path / "out.json", [one, other])
    first.add(one)
    first.add(other)
    again = Results(tmp_path / "out.json", [other])
    other.outcome = Outcome.DONE
    again.add(other)
    told = json.loads((tmp_path / "out.json").read_text())
    assert [(record["model_name"], record["success"]) for record in told] == [("0", False), ("1", True)]


def test_a_run_that_starts_over_leaves_the_old_folder_beside_it(tmp_path: Path) -> None:
    from real import runs

    from worldmodels.launch.queue.nouns import Rules
    from worldmodels.launch.queue.probe import Blind
    from worldmodels.launch.queue.queue import Queue

    (run,) = runs(tmp_path, ["echo new"])
    run.force = True
    run.folder.mkdir()
    (run.folder / "done.json").write_text("{}")
    Queue([run], [Device("cpu", 1)], Rules(), Blind()).run()
    assert (tmp_path / "0.old-1" / "done.json").is_file()
    assert run.tail("stdout.log", 1) == "new"
    assert not (run.folder / "done.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_every_run_and_leaves_a_valid_partial_file(tmp_path: Path, number: int, code: int) -> None:
    process = begin(tmp_path, commands=["true", SLEEPER, f"trap '' TERM; {SLEEPER}", SLEEPER], rules={"grace_s": 0.5})
    pids = until(
        lambda: (
            [pid_of(tmp_path, run) for run in (1, 2, 3) if pid_of(tmp_path, run)][2:]
            and [pid_of(tmp_path, run) for run in (1, 2, 3)]
        )
    )
    process.send_signal(number)
    assert process.wait(10) == code
    assert not [member for pid in pids for member in members(pid)]
    partial = json.loads((tmp_path / "results.json.partial").read_text())
    assert [(each["model_name"], each["success"]) for each in partial] == [
        *[("0", True), ("1", False), ("2", False), ("3", False)],
    ]
    assert [each.get("interrupted", False) for each in partial] == [False, True, True, True]
    assert [each["model_name"] for each in json.loads((tmp_path / "results.json").read_text())] == ["0"]


def test_a_queue_that_can_not_write_stops_its_runs_before_it_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worldmodels.launch.queue import queue as module

    def full(pairs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "note", full)
    with pytest.raises(OSError, match="No space left"):
        queue(tmp_path, [SLEEPER, f"trap '' TERM; {SLEEPER}"], grace_s=0.3)
    pids = [status.pid for run in (0, 1) if (status := Status.read(tmp_path / str(run)))]
    assert not [member for pid in pids for member in members(pid or 0)]


def test_a_second_signal_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    process = begin(tmp_path, commands=[f"trap '' TERM; {SLEEPER}"], rules={"grace_s": 60})
    until(lambda: pid_of(tmp_path, 0))
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


def test_a_killed_queue_s_runs_live_on_and_the_next_one_adopts_them(tmp_path: Path) -> None:
    wait = f"while ! test -e {tmp_path}/go; do sleep 0.05; done; echo once >> {tmp_path}/ran"
    commands = ["true", wait, wait, "true"]
    first = begin(tmp_path, commands=commands, slots=2)
    pids = until(lambda: pid_of(tmp_path, 1) and pid_of(tmp_path, 2) and [pid_of(tmp_path, run) for run in (1, 2)])
    first.kill()
    first.wait()
    assert all(psutil.pid_exists(pid) for pid in pids)
    before = ledger(tmp_path)
    assert ("0", "ended") in [(line["run"], line["what"]) for line in before]
    os.killpg(pids[1], signal.SIGKILL)  # this one is dead when the next queue comes
    until(lambda: not members(pids[1]))
    (tmp_path / "results.jsonl").open("a").write('{"cut in the mid')
    second = begin(tmp_path, commands=commands, slots=2)
    until(lambda: pid_of(tmp_path, 2) not in (None, pids[1]))
    assert pid_of(tmp_path, 1) == pids[0], "a run that lives is not started twice"
    (tmp_path / "go").touch()
    assert second.wait(20) in (0, 1)
    assert (tmp_path / "ran").read_text().split() == ["once", "once"]
    text = (tmp_path / "results.jsonl").read_text()
    assert text.startswith("".join(json.dumps(line) + "\n" for line in before)), "what was written stays"
    told = [json.loads(line) for line in text.splitlines()[len(before) + 1 :]]
    assert [line["what"] for line in told if line["run"] == "1"] == ["adopted", "ended"]
    assert [line["outcome"] for line in told if line["what"] == "ended" and line["run"] == "2"] == ["done"]


def test_a_run_of_someone_else_is_waited_for_and_never_signalled(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", LENGTH])
    status = Status("running", host=os.uname().nodename, pid=other.pid, started=time.time())
    from dataclasses import replace

    from worldmodels.launch.status import process_start

    replace(status, pid_started=process_start(other.pid)).write(tmp_path / "0")
    process = begin(tmp_path, commands=["true"], rules={"grace_s": 0.2})
    until(lambda: (tmp_path / "results.jsonl").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert other.poll() is None
    other.kill()
    other.wait()
