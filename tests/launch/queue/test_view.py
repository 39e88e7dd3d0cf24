"""What the queue shows: everything that matters, within the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from worldmodels.launch.queue.machine import Place
from worldmodels.launch.queue.nouns import Device, Event, Memory, Outcome
from worldmodels.launch.queue.run import Run, reason
from worldmodels.launch.queue.table import board, counts
from worldmodels.launch.queue.view import Lines, Moving, line, summary, view


def runs(count: int, *, running: int = 0, done: int = 0, failed: int = 0) -> list[Run]:
    """First those that are done, then those that failed, those that run, and those that wait."""
    found = []
    for number in range(count):
        run = Run(Path("runs/s") / str(number), (), (), f"game=breakout seed={number}")
        if number < done + failed:
            run.outcome = Outcome.DONE if number < done else Outcome.FAILED
            run.state, run.began, run.seconds, run.devices = run.outcome.value, float(number), 60.0, ("0",)
            run.score = 7.25 if number < done else None
            run.error = "" if number < done else "RuntimeError: CUDA error [all of it]"
        elif number < done + failed + running:
            run.state, run.began, run.devices = "running", 40.0, ("1",)
            run.last = {"progress": 0.25, "return": 3.5, "updates_per_second": 11.2}
        found.append(run)
    return found


def places() -> list[Place]:
    found = [Place(Device(str(number), 2, str(number), measured=True)) for number in range(3)]
    found[0].memory, found[1].memory = Memory(12.5, 80.0), Memory(70.0, 80.0)
    found[1].releasing = [(110.0, 1.0)]
    return found


def drawn(work: list[Run], on: list[Place], width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, record=True)
    console.print(board(work, on, 100.0, 0.0, console.size))
    return console.export_text().splitlines()


@pytest.mark.parametrize("count", [3, 40, 1000])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (130, 50)])
def test_the_table_fits_and_shows_what_runs_what_failed_and_what_comes_next(
    count: int, width: int, height: int
) -> None:
    work = runs(count, running=1, failed=1) if count == 3 else runs(count, running=4, done=count // 2, failed=2)
    lines = drawn(work, places(), width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.startswith("game=breakout")]
    states = [next(state for state in ("running", "failed", "done", "queued") if state in row) for row in rows]
    assert states.count("running") == (1 if count == 3 else 4)
    assert states.count("failed") == (1 if count == 3 else 2)
    assert states.count("queued") >= 1
    assert [row.split()[1] for row in rows] == sorted((row.split()[1] for row in rows), key=lambda seed: int(seed[5:]))


def test_a_running_run_shows_progress_return_speed_and_the_time_that_is_left() -> None:
    (row,) = (row for row in drawn(runs(1, running=1), places(), 130, 40) if row.startswith("game="))
    for told in ("running", "25%", "3.50", "11.2", "1:00", "3:00"):
        assert told in row


def test_gpus_show_their_memory_and_one_that_can_not_be_read_says_so() -> None:
    text = "\n".join(drawn(runs(1), places(), 100, 40))
    assert "12.5 of 80 GiB" in text
    assert "waits for its memory, 0:10 at most" in text
    assert "can not be read" in text
    assert "GPU" not in "\n".join(drawn(runs(1), [Place(Device("cpu", 2))], 100, 40))


def test_elsewhere_than_on_a_terminal_every_change_is_a_line() -> None:
    out = io.StringIO()
    shown = view(Console(file=out, width=200))
    assert isinstance(shown, Lines)
    run = runs(1, failed=1)[0]
    shown.tell(run, Event(0, "started", 2, ("0", "1")))
    shown.tell(run, Event(0, "ended", 2, seconds=75.0, outcome=Outcome.FAILED))
    assert out.getvalue().splitlines() == [
        "started     game=breakout seed=0  on 0, 1, attempt 2",
        "failed      game=breakout seed=0  after 1:15, attempt 2: RuntimeError: CUDA error [all of it]",
    ]


def test_on_a_terminal_failures_stay_above_the_table() -> None:
    out = io.StringIO()
    shown = view(Console(file=out, width=200, force_terminal=True))
    assert isinstance(shown, Moving)
    run = runs(1, failed=1)[0]
    shown.tell(run, Event(0, "started", 1, ("0",)))
    assert not out.getvalue()
    shown.tell(run, Event(0, "ended", 1, seconds=75.0, outcome=Outcome.FAILED))
    assert line(run, Event(0, "ended", 1, seconds=75.0, outcome=Outcome.FAILED)) in out.getvalue()


def test_the_summary_names_failures_with_their_reason_and_log() -> None:
    out = io.StringIO()
    summary(Console(file=out, width=200), runs(30, done=10, failed=15), 61.0)
    text = out.getvalue()
    assert "15 failed · 10 done · 5 queued in 1:01" in text
    assert "a finished run took 1:00 on average" in text
    assert "game=breakout seed=10: RuntimeError: CUDA error [all of it]" in text
    assert "runs/s/10/stderr.log" in text
    assert "and 3 more" in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\nTraceback\n  File x\nValueError: no\n", "ValueError: no"),
        ("KeyError: 'a'\n\nDuring handling\ntorch.cuda.OutOfMemoryError: CUDA out of memory", None),
        ("error: game='x'\n  expected: one of", "error: game='x'"),
        ("timed out after 5 s\nValueError: late", "timed out after 5 s"),
        ("50% done\nkilled by SIGKILL", "killed by SIGKILL"),
        ("line\nlast", "last"),
        ("", "it said nothing"),
    ],
)
def test_the_reason_is_the_line_that_says_why(text: str, told: str | None) -> None:
    assert reason(text) == (told or text.splitlines()[-1])


def test_counts_are_in_the_order_of_what_matters() -> None:
    assert counts(runs(6, running=1, done=2, failed=1)) == "1 running · 1 failed · 2 done · 2 queued"
