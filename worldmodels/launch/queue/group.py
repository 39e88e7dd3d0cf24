"""Process groups: a job and everything it started. A number is never signalled once it may mean someone else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

SAME = 2.0  # seconds by which two readings of one process's start may differ


class Group:
    """The processes of one job; its leader's pid is their group."""

    pid: int

    def over(self) -> bool:
        """Whether the leader has ended."""
        raise NotImplementedError

    def code(self) -> int:
        """The leader's exit code, negative for a signal. The group's number may mean another one from then on."""
        raise NotImplementedError

    def rest(self) -> list[int]:
        """Members that live, apart from the leader."""
        return [pid for pid in members(self.pid) if pid != self.pid]

    def ask(self) -> None:
        """TERM to the leader."""
        if not self.over():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def signal(self, number: int) -> None:
        """To every member."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Child(Group):
    """A group that we started. Its leader is not reaped before `code`, which keeps the number ours."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], out: Path, err: Path) -> None:
        with out.open("ab") as stdout, err.open("ab") as stderr:
            self.process = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def over(self) -> bool:
        if self.process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def code(self) -> int:
        return self.process.wait()


class Found(Group):
    """A group that an earlier queue started, and that outlived it. `began`: when its leader did, in unix seconds."""

    def __init__(self, pid: int, began: float) -> None:
        self.pid, self.began = pid, began

    def over(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.began) >= SAME
        except psutil.NoSuchProcess:
            return True

    def code(self) -> int:
        """Only its parent could know; the status file says more."""
        return -signal.SIGKILL

    def rest(self) -> list[int]:
        # A process of the leader's number that is not the leader: the system gives a number anew only when no member
        # of its group is left.
        return [] if self.over() and psutil.pid_exists(self.pid) and not self._zombie() else super().rest()

    def signal(self, number: int) -> None:
        if not self.over() or self.rest():
            super().signal(number)

    def _zombie(self) -> bool:
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def members(group: int) -> list[int]:
    """Processes of a group that live; remains that nobody has reaped do not count."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return found


def leads(pid: int) -> bool:
    """Whether a process leads its own group."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False
