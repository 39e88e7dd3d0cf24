"""One run of the queue: what to start, where its traces lie, how it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldmodels.launch.queue.nouns import Event, Outcome

STDOUT, STDERR = "stdout.log", "stderr.log"
TAIL = 1 << 16  # bytes of a log that are looked at
_ERROR = re.compile(r"^(error: |(\w+\.)*\w*(Error|Exception|Interrupt|Exit)\b)")


@dataclass(eq=False)
class Run:
    """A job and its state, for the table, the files of results and the caller.

    label: what tells it from the others; values: its options as plain data, for the file of results.
    state: queued, running, terminating, killing, or the value of its outcome.
    """

    folder: Path
    argv: tuple[str, ...]
    words: tuple[str, ...] = ()
    label: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False  # start over: the old folder goes aside
    state: str = "queued"
    outcome: Outcome | None = None
    attempt: int = 0
    devices: tuple[str, ...] = ()
    began: float | None = None  # on the queue's clock
    seconds: float | None = None
    code: int | None = None
    error: str = ""
    score: float | None = None
    last: Mapping[str, float] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)  # where the last attempt begins in each log

    def take(self, event: Event, now: float) -> None:
        """Note what happened."""
        self.attempt = event.attempt or self.attempt
        self.devices = event.devices or self.devices
        if event.what in ("started", "adopted"):
            self.state, self.began, self.error = "running", now, ""
        elif event.what == "retrying":
            self.state, self.seconds, self.code = "queued", event.seconds, event.code
            self.error = reason(event.text)
        elif event.what == "ended" and event.outcome is not None:
            self.state, self.outcome, self.seconds = event.outcome.value, event.outcome, event.seconds
            self.code = event.code
            self.error = "" if event.outcome is Outcome.DONE else reason(event.text)
        else:
            self.state = event.what

    @property
    def ended(self) -> bool:
        return self.outcome is not None

    def tail(self, log: str, lines: int) -> str:
        """The last lines of a log, of the last attempt alone."""
        return tail(self.folder / log, lines, self.starts.get(log, 0))


def tail(path: Path, lines: int, start: int = 0) -> str:
    """The last lines of a file, none of them from before `start`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def reason(text: str) -> str:
    """The line that says why: the first of ours, or the last error of a traceback, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("timed out after", "stopped with", "killed by"))]
    errors = [line for line in lines if _ERROR.match(line)]
    return (told or errors[-1:] or lines[-1:] or ["it said nothing"])[0]
