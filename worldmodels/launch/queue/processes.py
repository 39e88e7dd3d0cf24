"""Runs as processes: started, watched, stopped with everything that they started, and written down."""

from __future__ import annotations

import os
import shlex
import signal
import sysconfig
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worldmodels.core.errors import UserError
from worldmodels.data.lock import Lock
from worldmodels.launch.folder import Folder
from worldmodels.launch.queue.group import Child, Found, Group
from worldmodels.launch.queue.nouns import Device, Ending
from worldmodels.launch.queue.run import STDERR, STDOUT, Run
from worldmodels.launch.queue.waiter import Waiter
from worldmodels.launch.status import Status, enqueue, process_start

NAME = "gpu_queue"
CAPS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
LINGER = 2.0  # seconds that a run's own processes may outlive it, after a TERM
LOOK = 0.05  # seconds between two looks at such processes
LINES = {STDOUT: 50, STDERR: 100}  # of each log that are kept with a result, as the original tool did
CODE_NOT_STARTED = 127


@dataclass
class Live:
    """The processes of one job. kill_at: when what outlives the leader is killed."""

    group: Group
    kill_at: float | None = None
    foreign: bool = False  # started by someone else: waited for, never signalled


class Processes:
    """The queue's spawner. `env` is added to this process's; `threads` caps what libraries start, None: no cap."""

    def __init__(
        self, runs: Sequence[Run], waiter: Waiter, *, env: Mapping[str, str] | None = None, threads: int | None = None
    ) -> None:
        self.runs, self.waiter, self.env, self.threads = runs, waiter, dict(env or {}), threads
        self.live: dict[int, Live] = {}
        self.endings: list[Ending] = []

    def start(self, job: int, attempt: int, devices: Sequence[Device]) -> None:
        """Start a run in its folder; if that fails, say so as an ending."""
        run = self.runs[job]
        try:
            if run.force and attempt == 1:
                _aside(run.folder)
            run.folder.mkdir(parents=True, exist_ok=True)
            names = ",".join(device.name for device in devices)
            _head(run, f"==== attempt {attempt}, {time.strftime('%Y-%m-%d %H:%M:%S')}, on {names}: ")
            group = Child(run.argv, self._environment(devices), run.folder / STDOUT, run.folder / STDERR)
            self.live[job] = Live(group)
            self.waiter.watch(group.pid)
            _write_down(run, group.pid, names)
        except (OSError, UserError) as error:
            if job in self.live:  # it runs, but nobody could find it again
                self.live[job].group.signal(signal.SIGKILL)
                return
            self.endings.append(Ending(job, CODE_NOT_STARTED, f"error: {str(error).splitlines()[0]}"))
            self.waiter.ring()

    def adopt(self, job: int, pid: int, began: float, *, foreign: bool) -> None:
        """Take over a run that an earlier queue started, or, if `foreign`, wait for one of someone else's."""
        self.live[job] = Live(Found(pid, began), foreign=foreign)
        self.waiter.watch(pid)

    def ended(self) -> Iterable[Ending]:
        told, self.endings = self.endings, []
        for job, live in list(self.live.items()):
            if live.group.over() and self._alone(live):
                del self.live[job]
                told.append(self._ending(job, live))
        return told

    def stop(self, job: int, *, hard: bool) -> None:
        live = self.live.get(job)
        if live is None:
            return
        if live.foreign:
            del self.live[job]
            self.endings.append(Ending(job, -signal.SIGTERM, "it was started elsewhere, and left running"))
            self.waiter.ring()
            return
        # TERM goes to the leader alone: it still needs its workers to finish an update and save.
        live.group.signal(signal.SIGKILL) if hard else live.group.ask()

    def wake(self) -> float | None:
        """Seconds to the next look at processes whose end nothing announces."""
        return LOOK if any(live.kill_at is not None for live in self.live.values()) else None

    def end_all(self, grace: float) -> None:
        """TERM to all, KILL after the grace; for when the queue itself can not go on."""
        over = time.monotonic() + grace
        for job in list(self.live):
            self.stop(job, hard=False)
        while self.live and time.monotonic() < over + LINGER:
            list(self.ended())
            for job in list(self.live) if time.monotonic() >= over else []:
                self.stop(job, hard=True)
            time.sleep(LOOK)

    def _alone(self, live: Live) -> bool:
        """Whether nothing of a run outlives it. What does is told to end, and killed soon after."""
        if live.foreign or not live.group.rest():
            return True
        now = time.monotonic()
        if live.kill_at is None:
            live.kill_at = now + LINGER
            live.group.signal(signal.SIGTERM)
        elif now >= live.kill_at:
            live.group.signal(signal.SIGKILL)
        return False

    def _ending(self, job: int, live: Live) -> Ending:
        run = self.runs[job]
        status = Status.read(run.folder)
        code = live.group.code()
        if isinstance(live.group, Found) and status is not None and status.state in ("done", "failed"):
            code = 0 if status.state == "done" else status.exit_code or 1
        if isinstance(live.group, Found) and status is not None and status.state == "killed":
            code = status.exit_code or code
        if code == 0:
            return Ending(job, 0)
        logs = [run.tail(log, LINES[log]) for log in (STDOUT, STDERR)]
        end = f"killed by {signal.Signals(-code).name}" if code < 0 else ""
        told = status.error if status and status.error and status.state == "failed" else ""
        return Ending(job, code, "\n".join(part for part in (*logs, told, end) if part))

    def _environment(self, devices: Sequence[Device]) -> dict[str, str]:
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": _path()}
        if self.threads is not None:
            env |= dict.fromkeys(CAPS, str(self.threads))
        if devices[0].visible is not None:
            env |= {
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                "CUDA_VISIBLE_DEVICES": ",".join(device.visible or "" for device in devices),
            }
        return env | self.env


def _path() -> str:
    """With the place of this very package, if it is not installed; a run of another version would not do."""
    here = str(Path(__file__).resolve().parents[3])
    if here in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(dict.fromkeys([here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))


def _aside(folder: Path) -> None:
    if folder.exists():
        Lock(folder / ".lock").release()  # refuses while another process works in it
        Folder(folder).move_aside()


def _head(run: Run, head: str) -> None:
    """A line in each log that says what follows; the lines of the attempts before it stay."""
    for log in (STDOUT, STDERR):
        with (run.folder / log).open("a", encoding="utf-8") as file:
            file.write(f"{head}{shlex.join(run.argv)}\n")
            run.starts[log] = file.tell()


def _write_down(run: Run, pid: int, devices: str) -> None:
    """The pid at once, and not only when the run can say it itself: a queue that is killed meanwhile finds it again."""
    status, now = enqueue(run.folder, run.words, NAME), time.time()
    began = process_start(pid)
    if began is None:  # it is over already
        return
    replace(
        status,
        state="running",
        started=now,
        heartbeat=now,
        ended=None,
        exit_code=None,
        error=None,
        host=os.uname().nodename,
        pid=pid,
        pid_started=began,
        launcher=NAME,
        gpu=devices,
    ).write(run.folder)
