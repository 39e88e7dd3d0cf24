"""The status table: how full the GPUs are, and where each run stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import ConsoleDimensions, Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from worldmodels.launch.queue.machine import Place
from worldmodels.launch.queue.run import Run

COLOURS = {
    "running": "cyan",
    "terminating": "magenta",
    "killing": "magenta",
    "queued": "dim",
    "done": "green",
    "failed": "red",
    "timed out": "red",
    "interrupted": "yellow",
    "cancelled": "yellow",
}
# What changes comes first, then what went wrong, and what waits last.
ORDER = ["running", "terminating", "killing", "failed", "timed out", "interrupted", "cancelled", "done", "queued"]
WIDE, WIDER = 96, 116  # columns of a terminal from which there is room for speed, and for the devices' names
SPARE = 3  # rows of the terminal that stay free


def board(
    runs: Sequence[Run], places: Sequence[Place], now: float, began: float, size: ConsoleDimensions
) -> RenderableType:
    """All of it, cut to the terminal."""
    parts: list[RenderableType] = [_head(runs, now - began, size.width)]
    gpus = [place for place in places if place.device.measured]
    if gpus:
        parts += [Text(), _gpus(gpus, now, size.width)]
    room = size.height - SPARE - 4 - (len(gpus) + 1 if gpus else 0)
    shown, hidden = _chosen(runs, max(room, 3))
    parts += [Text(), _runs(shown, now, size.width)]
    if hidden:
        parts.append(Text(f"and {counts(hidden)}", style="dim"))
    return Group(*parts)


def counts(runs: Sequence[Run]) -> str:
    """For example `3 running · 2 done · 1 failed`."""
    number = Counter(run.state for run in runs)
    return " · ".join(f"{number[state]} {state}" for state in ORDER if number[state]) or "no runs"


def _head(runs: Sequence[Run], seconds: float, width: int) -> Table:
    ended = sum(run.ended for run in runs)
    told = Text()
    number = Counter(run.state for run in runs)
    for state in (state for state in ORDER if number[state]):
        told.append(f"{number[state]} {state}", style=COLOURS[state])
        told.append("   ")
    told.append(clock(seconds), style="bold")
    bar = _bar(ended / max(len(runs), 1), max(10, min(40, width // 4)))
    row = Table.grid(padding=(0, 2))
    row.add_row(Text(f"{ended}/{len(runs)} runs", style="bold"), bar, told)
    return row


def _gpus(places: Sequence[Place], now: float, width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    for place in places:
        name = place.device.name if len(place.device.name) <= 12 else place.device.name[:11] + "…"
        slots = f"{len(place.jobs)}/{place.device.slots}"
        memory = place.memory
        if memory is None:
            table.add_row(f"GPU {name}", slots, Text("can not be read", style="yellow"), "")
            continue
        note = f"waits for its memory, {clock(place.releasing[0][0] - now)} at most" if place.releasing else ""
        bar = _bar(memory.used / (memory.total or memory.used or 1), max(8, min(24, width // 6)), "blue")
        size = f"{memory.used:.1f} of {memory.total:.0f} GiB" if memory.total else f"{memory.used:.1f} GiB"
        table.add_row(f"GPU {name}", slots, bar, Text(size), Text(note, style="dim"))
    return table


def _runs(runs: Sequence[Run], now: float, width: int) -> Table:
    wide = width >= WIDE
    several = any(run.devices and run.devices != ("cpu",) for run in runs)
    columns = [
        Column("run", ratio=1, no_wrap=True, overflow="ellipsis", min_width=12),
        Column("state", no_wrap=True, min_width=11),
        *([Column("gpu", no_wrap=True, max_width=12, overflow="ellipsis")] if several else []),
        Column("progress", no_wrap=True, width=20 if wide else 13),
        Column("return", justify="right", no_wrap=True, min_width=7),
        *([Column("updates/s", justify="right", no_wrap=True)] if wide else []),
        Column("time", justify="right", no_wrap=True, min_width=7),
        *([Column("left", justify="right", no_wrap=True, min_width=7)] if width >= WIDER else []),
    ]
    table = Table(*columns, box=None, pad_edge=False, header_style="bold", expand=True)
    for run in runs:
        last = run.last if run.state != "queued" else {}
        cells: list[RenderableType] = [escape(run.label), f"[{COLOURS[run.state]}]{_state(run)}[/]"]
        cells += [", ".join(run.devices)] if several else []
        cells += [_progress(run, 15 if wide else 8), _number(run.score, last.get("return"))]
        cells += [_number(last.get("updates_per_second"), digits=1)] if wide else []
        cells += [_spent(run, now)]
        cells += [_left(run, now)] if width >= WIDER else []
        table.add_row(*cells, style="dim" if run.state == "queued" else "")
    return table


def _state(run: Run) -> str:
    return f"{run.state} ({run.attempt})" if run.attempt > 1 and not run.ended else run.state


def _progress(run: Run, width: int) -> RenderableType:
    """A bar, or the reason where there is none."""
    if run.error:
        return Text(run.error, style="red" if run.ended else "yellow", overflow="ellipsis", no_wrap=True)
    share = 1.0 if run.state == "done" else run.last.get("progress")
    if share is None or run.state == "queued":
        return Text("starting" if run.state == "running" else "", style="dim")
    row = Table.grid(padding=(0, 1))
    row.add_row(_bar(share, width), f"{share:.0%}")
    return row


def _bar(share: float, width: int, colour: str = "cyan") -> ProgressBar:
    return ProgressBar(1.0, share, width, complete_style=colour, finished_style="green" if colour == "cyan" else colour)


def _number(*values: float | None, digits: int = 2) -> str:
    value = next((value for value in values if value is not None), None)
    return "" if value is None else f"{value:.{digits}f}"


def _spent(run: Run, now: float) -> str:
    if run.ended or run.began is None:
        return "" if run.seconds is None else clock(run.seconds)
    return clock(now - run.began) if run.state != "queued" else ""


def _left(run: Run, now: float) -> str:
    share = run.last.get("progress")
    if run.state != "running" or run.began is None or not share or share >= 1:
        return ""
    return clock((now - run.began) * (1 - share) / share)


def _chosen(runs: Sequence[Run], room: int) -> tuple[list[Run], list[Run]]:
    """The runs for which there is room, as they were given, and the others. Of those that ended, the newest stay."""
    if len(runs) <= room:
        return [*runs], []
    groups: dict[str, list[int]] = {state: [] for state in ORDER}
    for number, run in enumerate(runs):
        groups[run.state].append(number)
    waiting = groups.pop("queued")[: max(1, room // 4)]  # some of the room is for the next ones, however many ended
    others: list[int] = []
    for numbers in groups.values():
        others += sorted(numbers, key=lambda number: _end(runs[number]), reverse=True)
    shown = {*others[: room - len(waiting)], *waiting}
    picked = [runs[number] for number in sorted(shown, key=lambda number: (runs[number].state == "queued", number))]
    return picked, [run for number, run in enumerate(runs) if number not in shown]


def _end(run: Run) -> float:
    return (run.began or 0.0) + (run.seconds or 0.0)


def clock(seconds: float) -> str:
    """For example `3:20` or `1:02:03`."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
