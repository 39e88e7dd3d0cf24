"""One writer per folder, and the name of the one who has it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

from worldmodels.core.errors import LockError

# struct flock of 64-bit systems, and the places of kind and process in it.
_FLOCK, _KIND, _PID = ("qqihh", 3, 2) if sys.platform == "darwin" else ("hhqqi4x", 0, 4)
_HELD: dict[Path, int] = {}  # path -> process: a record lock does not exclude its own process, so it remembers


class Lock:
    """A file that says which process owns a folder. The kernel frees it when that process dies, however it dies.

    A record lock and not `flock`: forked workers of the owner would keep the latter alive after its death.
    """

    def __init__(self, path: Path) -> None:
        """Takes the lock at once; LockError names the owner if there is one."""
        self.path = path.resolve()
        if _HELD.get(self.path) == os.getpid():
            raise self._refusal("this very process")
        self.file = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as refused:
            self.file.seek(0)
            owner = _describe(self.file.read())
            self.file.close()
            raise self._refusal(owner) from refused
        _HELD[self.path] = os.getpid()
        self.file.truncate(0)
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same, only without a name
            self.file.write(json.dumps(owner))
            self.file.flush()

    @property
    def held(self) -> bool:
        return not self.file.closed

    def release(self) -> None:
        if self.held:
            del _HELD[self.path]
            self.file.close()

    def _refusal(self, owner: str) -> LockError:
        return LockError(
            f"{self.path.parent} is being written by {owner}",
            "one writer at a time",
            "wait for it or stop it; reading is possible meanwhile",
        )


def _describe(text: str) -> str:
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (json.JSONDecodeError, KeyError, TypeError):
        return "another process"


def owner(path: Path) -> int | None:
    """The process that holds the lock of that path, as the kernel knows it; None if none does. Takes nothing."""
    if _HELD.get(path.resolve()) == os.getpid():
        return os.getpid()
    try:
        with path.open("r+") as file:
            asked = [0] * 5  # the whole file, from its start
            asked[_KIND] = fcntl.F_WRLCK
            told = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_FLOCK, *asked)))
    except FileNotFoundError:
        return None
    return None if told[_KIND] == fcntl.F_UNLCK else told[_PID]
