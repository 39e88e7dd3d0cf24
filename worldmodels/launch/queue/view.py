"""The queue on the console: a table that moves on a terminal, a line per change elsewhere, and a summary at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live

from worldmodels.launch.queue.machine import Machine
from worldmodels.launch.queue.nouns import Event, Outcome
from worldmodels.launch.queue.run import STDERR, Run
from worldmodels.launch.queue.table import board, clock, counts

FIRST = 12  # failures that the summary names
LOUD = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.INTERRUPTED)


class Moving:
    """A live table."""

    every = 2.0

    def __init__(self, console: Console) -> None:
        self.console, self.began = console, time.monotonic()
        self.live: Live | None = None

    def tell(self, run: Run, event: Event) -> None:
        """What matters stays above the table: a run that failed, with the reason."""
        if event.what == "retrying" or event.outcome in LOUD:
            colour = "yellow" if event.what == "retrying" else "red"
            self.console.print(line(run, event), style=colour, markup=False, highlight=False, soft_wrap=True)

    def show(self, runs: Sequence[Run], machine: Machine) -> None:
        picture = board(runs, machine.places, time.monotonic(), self.began, self.console.size)
        if self.live is None:
            self.live = Live(picture, console=self.console, auto_refresh=False, transient=True)
            self.live.start(refresh=True)
        else:
            self.live.update(picture, refresh=True)

    def close(self, runs: Sequence[Run], machine: Machine) -> None:  # noqa: ARG002 (the view's signature)
        if self.live:
            self.live.stop()
        summary(self.console, runs, time.monotonic() - self.began)


class Lines:
    """A line per change, and how many runs stand where once a minute."""

    every = 60.0

    def __init__(self, console: Console) -> None:
        self.console, self.began = console, time.monotonic()
        self.shown = False

    def tell(self, run: Run, event: Event) -> None:
        if event.outcome is not Outcome.CANCELLED:
            self.console.print(line(run, event), markup=False, highlight=False, soft_wrap=True)

    def show(self, runs: Sequence[Run], machine: Machine) -> None:
        if self.shown:
            self.console.print(f"{clock(time.monotonic() - self.began)}  {counts(runs)}", markup=False, highlight=False)
            for job in machine.tasks:
                if text := progress(runs[job]):
                    self.console.print(f"  {runs[job].label}: {text}", markup=False, highlight=False, soft_wrap=True)
        self.shown = True

    def close(self, runs: Sequence[Run], machine: Machine) -> None:  # noqa: ARG002 (the view's signature)
        summary(self.console, runs, time.monotonic() - self.began)


def view(console: Console | None = None) -> Moving | Lines:
    """The one that suits where the output goes."""
    console = console or Console(stderr=True)
    return Moving(console) if console.is_terminal else Lines(console)


def line(run: Run, event: Event) -> str:
    """For example `retrying    seed=1  after 0:12, attempt 1: OutOfMemoryError: ...`."""
    what = event.outcome.value if event.outcome else event.what
    notes = [f"on {', '.join(event.devices)}"] if event.what in ("started", "adopted") and event.devices else []
    notes += [f"after {clock(event.seconds)}"] if event.seconds is not None else []
    notes += [f"attempt {event.attempt}"] if event.attempt > 1 or event.what == "retrying" else []
    told = f"{what:<11} {run.label}" + (f"  {', '.join(notes)}" if notes else "")
    return told + (f": {run.error}" if run.error and event.what in ("ended", "retrying") else "")


def progress(run: Run) -> str:
    """For example `42%, return 3.10, 11.2 updates/s`."""
    last = run.last
    parts = [f"{last['progress']:.0%}"] if "progress" in last else []
    parts += [f"return {last['return']:.2f}"] if "return" in last else []
    parts += [f"{last['updates_per_second']:.1f} updates/s"] if "updates_per_second" in last else []
    return ", ".join(parts)


def summary(console: Console, runs: Sequence[Run], seconds: float) -> None:
    """How many ended how, what a run took, and for those that failed why and where to read on."""
    done = [run for run in runs if run.outcome is Outcome.DONE]
    console.print()
    console.print(f"{counts(runs)} in {clock(seconds)}", style="bold", highlight=False)
    if timed := [run.seconds for run in done if run.seconds is not None]:
        console.print(f"a finished run took {clock(sum(timed) / len(timed))} on average", highlight=False)
    failed = [run for run in runs if run.outcome in (Outcome.FAILED, Outcome.TIMED_OUT)]
    for run in failed[:FIRST]:
        console.print(f"[red]{run.state:<10}[/]", end="", highlight=False)
        console.print(f"{run.label}: {run.error}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"{'':<10}{run.folder / STDERR}", style="dim", highlight=False, soft_wrap=True)
    if len(failed) > FIRST:
        console.print(f"{'':<10}and {len(failed) - FIRST} more", style="dim", highlight=False)
