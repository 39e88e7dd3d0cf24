"""Sleeps until a process ends, a signal comes, or a moment is reached."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

BLIND = 0.2  # seconds between looks where the system can not announce the end of a process
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Waiter:
    """One place to sleep. Processes need not be children of this one."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.bell, self.rope = os.pipe()
        for end in (self.bell, self.rope):
            os.set_blocking(end, False)
        self.selector.register(self.bell, selectors.EVENT_READ)
        self.unseen = False  # a process whose end is not announced was given to `watch`

    def watch(self, pid: int) -> None:
        """Wake up when this process ends."""
        try:
            self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ)
        except ProcessLookupError:
            self.ring()
        except (AttributeError, OSError):  # not on this system, or not allowed here
            self.unseen = True

    def ring(self) -> None:
        """End the sleep, or the next one; safe within a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.rope, b".")

    def wait(self, seconds: float | None) -> None:
        if self.unseen:
            seconds = BLIND if seconds is None else min(seconds, BLIND)
        for key, _ in self.selector.select(None if seconds is None else max(seconds, 0.0)):
            if key.fd == self.bell:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.bell, 4096)
            else:
                self.selector.unregister(key.fd)
                os.close(key.fd)

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            os.close(key.fd)
        self.selector.close()
        os.close(self.rope)


class Signals:
    """Within it, signals that would end this process call `act` instead, from the loop and not in the midst of it."""

    def __init__(self, waiter: Waiter, act: Callable[[], None]) -> None:
        self.waiter, self.act = waiter, act
        self.received: list[int] = []
        self.told = 0
        self.former: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # such as SIGHUP under nohup
                    self.former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Call `act` once for each signal since the last time."""
        while self.told < len(self.received):
            self.told += 1
            self.act()

    def _receive(self, number: int, frame: Any) -> None:  # noqa: ARG002 (Python's signature)
        self.received.append(number)
        self.waiter.ring()
