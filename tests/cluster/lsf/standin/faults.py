"""Commands that fail, lose their answer, or take long, as a busy scheduler's do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from standin import store

DOWN = "Cannot connect to LSF. Please wait ..."


def run(name: str, command: Callable[[list[str]], int]) -> None:
    """The command's process."""
    if _counts("FAIL", name):
        sys.exit(_down())
    late = _counts("LATE", name)
    if late:
        _leave_behind(command, late)
    mute, slow = _counts("MUTE", name), _counts("SLOW", name)
    if mute:
        real = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        command(sys.argv[1:])
        sys.stdout.flush()
        os.dup2(real, 1)
        sys.exit(_down())
    code = command(sys.argv[1:])
    if slow:
        time.sleep(slow)
    sys.stdout.flush()
    sys.exit(code)


def _leave_behind(command: Callable[[list[str]], int], seconds: float) -> None:
    """The deed in a process of its own, which outlives this one; this one hangs."""
    if os.fork() == 0:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        time.sleep(seconds)
        command(sys.argv[1:])
        os._exit(0)
    time.sleep(600)


def _down() -> int:
    sys.stderr.write(DOWN + "\n")
    return 255


def _counts(kind: str, name: str) -> float:
    """Whether this call is one of the faulty ones: the seconds of a slow one, 1 for others, else 0."""
    for word in os.environ.get(f"LSF_STANDIN_{kind}", "").split():
        command, times, *seconds = word.split(":")
        if command == name:
            with store.cluster() as state:
                made = state["calls"][f"{kind} {name}"] = state["calls"].get(f"{kind} {name}", 0) + 1
            return float(seconds[0]) if seconds and made <= int(times) else float(made <= int(times))
    return 0.0
