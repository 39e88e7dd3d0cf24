"""The loop around the state machine: wakes up when something happened, and tells those who want to know."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from worldmodels.launch.folder import Folder
from worldmodels.launch.queue.group import leads
from worldmodels.launch.queue.machine import Machine
from worldmodels.launch.queue.nouns import Device, Event, Outcome, Probe, Rules
from worldmodels.launch.queue.processes import NAME, Processes
from worldmodels.launch.queue.record import Results, note, settle
from worldmodels.launch.queue.run import Run
from worldmodels.launch.queue.waiter import Signals, Waiter
from worldmodels.launch.score import score
from worldmodels.launch.status import Status, alive


@runtime_checkable
class View(Protocol):
    """Shows how the queue stands. every: seconds between two calls of `show`."""

    every: float

    def tell(self, run: Run, event: Event) -> None:
        """Something happened to a run."""
        ...

    def show(self, runs: Sequence[Run], machine: Machine) -> None: ...

    def close(self, runs: Sequence[Run], machine: Machine) -> None: ...


class Queue:
    """Runs all of `runs`; each ends with an outcome of its own. A signal stops them all; its number is `stopped_by`."""

    def __init__(
        self,
        runs: Sequence[Run],
        devices: Sequence[Device],
        rules: Rules,
        probe: Probe,
        *,
        env: dict[str, str] | None = None,
        threads: int | None = None,
        results: Results | None = None,
        view: View | None = None,
    ) -> None:
        self.runs, self.results, self.view = runs, results, view
        self.waiter = Waiter()
        self.processes = Processes(runs, self.waiter, env=env, threads=threads)
        found = {job: status for job, run in enumerate(runs) if (status := _alive(run))}
        self.machine = Machine(
            len(runs), devices, rules, clock=time.monotonic, probe=probe, spawner=self.processes, known=found
        )
        for job, status in found.items():
            self._adopt(job, status)
        self.shown = float("-inf")
        self.stopped_by: int | None = None

    def run(self) -> None:
        """Until every run has ended."""
        with Signals(self.waiter, self.machine.interrupt) as signals:
            try:
                self._loop(signals)
            except BaseException:  # such as a full disk: runs that go on untold could not be found again
                self.processes.end_all(self.machine.rules.grace_s)
                raise
            finally:
                if self.view:
                    self.view.close(self.runs, self.machine)
                self.waiter.close()
        self.stopped_by = signals.received[0] if signals.received else None
        if self.results and self.stopped_by is not None:
            self.results.partial(self.runs)
        elif self.results:
            self.results.complete()

    def _loop(self, signals: Signals) -> None:
        while True:
            signals.deliver()
            self._take(self.machine.step())
            self._show()
            if self.machine.finished:
                return
            self.waiter.wait(self._pause())

    def _pause(self) -> float | None:
        """Seconds to sleep if nothing happens."""
        now = time.monotonic()
        wake, soon = self.machine.wake(), self.processes.wake()
        pauses = [0.0] if self.machine.news else []
        pauses += [wake - now] if wake is not None else []
        pauses += [soon] if soon is not None else []
        pauses += [self.shown + self.view.every - now] if self.view else []
        return min(pauses, default=None)

    def _take(self, events: Iterable[Event]) -> None:
        now = time.monotonic()
        pairs = [(self.runs[event.job], event) for event in events]
        for run, event in pairs:
            task = self.machine.tasks.get(event.job)
            run.take(event, task.began if task else now)
            if event.what in ("ended", "retrying"):
                settle(run, event)
            if event.outcome is Outcome.DONE:
                result = Folder(run.folder).result()
                run.score = None if result is None else score(result)
        if pairs:
            note(pairs)
        for run, event in pairs:
            if self.results and event.outcome not in (None, Outcome.CANCELLED, Outcome.INTERRUPTED):
                self.results.add(run)
            if self.view:
                self.view.tell(run, event)

    def _show(self) -> None:
        now = time.monotonic()
        if self.view is None or now - self.shown < self.view.every:
            return
        self.shown = now
        for job in self.machine.tasks:
            status = Status.read(self.runs[job].folder)
            self.runs[job].last = status.last if status else {}
        self.view.show(self.runs, self.machine)

    def _adopt(self, job: int, status: Status) -> None:
        assert status.pid is not None
        assert status.pid_started is not None
        ours = status.launcher == NAME and leads(status.pid)
        age = time.time() - (status.started or time.time())
        names = (status.gpu or "").split(",") if ours else []
        if ours and not any(place.device.measured for place in self.machine.places):
            places = [place.device.name for place in self.machine.places]
            names = [name for name in names if name in places] or places[:1]  # CPU slots have no name in the status
        self.machine.adopt(job, names, time.monotonic() - age, status.attempt)
        self.processes.adopt(job, status.pid, status.pid_started, foreign=not ours)


def _alive(run: Run) -> Status | None:
    """The status of a run that is running at this moment on this machine."""
    status = Status.read(run.folder)
    if status is None or status.state != "running" or not alive(status) or status.pid == os.getpid():
        return None
    return status
