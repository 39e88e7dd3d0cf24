"""Signals that end a recording, held back to where nothing is in between two hands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


class Deferred:
    """Within it, Ctrl-C and a handled SIGTERM wait for `check` or the end.

    A second signal comes through at once, or at the end of what is held together by `whole`.
    """

    def __init__(self) -> None:
        self.before: dict[int, Handler] = {}
        self.waiting: int | None = None
        self.late: int | None = None  # a second signal in the midst of `whole`
        self.asked = self.held = False

    def __enter__(self) -> Deferred:
        if threading.current_thread() is threading.main_thread():  # others get no signals
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self.before[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.check()

    def check(self) -> None:
        """What the signal would have done, as a rule KeyboardInterrupt; once."""
        if self.waiting is not None:
            number, self.waiting = self.waiting, None
            self.before[number](number, None)

    @contextmanager
    def whole(self) -> Generator[None]:
        """What must not be cut in two. Keep it short: nothing can stop it."""
        self.held = True
        try:
            yield
        finally:
            self.held = False
            if self.late is not None:
                number, self.late = self.late, None
                self._receive(number, None)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self.waiting = True, number
        elif self.held:
            self.late = number
        else:
            self.waiting = None
            self.before[number](number, frame)
