"""What a process has begun is brought to an end, also when it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def orderly() -> Iterator[None]:
    """SIGTERM ends what runs inside as Ctrl-C does: what was begun is stored, or cleared away, on the way out."""

    def leave(number: int, frame: Any) -> None:  # noqa: ARG001
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
