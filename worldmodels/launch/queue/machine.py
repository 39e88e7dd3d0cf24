"""The queue as a state machine. It has no clock, no files and no processes of its own: all three are given to it.

A job is pending, then starting (its memory is reserved), running, and ended; a failed one may be pending again. Its
place on a device is free, taken, or releasing: closed until the memory of the job before has been given back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from worldmodels.launch.queue.choice import Load, choose
from worldmodels.launch.queue.nouns import Device, Ending, Event, Memory, Outcome, Probe, Rules, Spawner

REPEAT = 1.0  # seconds between two KILLs, for processes that were just being forked


@dataclass(eq=False)
class Place:
    """A device and who is on it."""

    device: Device
    jobs: set[int] = field(default_factory=set)
    releasing: list[tuple[float, float]] = field(default_factory=list)  # until when; at what memory earlier
    memory: Memory | None = None  # as of the last reading


@dataclass(eq=False)
class Task:
    """A job that runs. before: GiB that its devices used when it began."""

    job: int
    places: list[Place]
    began: float
    before: dict[str, float] = field(default_factory=dict)
    reason: Outcome | None = None  # why it was told to stop
    stop_at: float | None = None  # when TERM is due, then KILL
    asked: bool = False  # TERM was sent


class Machine:
    """Runs jobs 0 to count - 1 in order, each until it ends for good, once."""

    def __init__(
        self,
        count: int,
        devices: Sequence[Device],
        rules: Rules,
        *,
        clock: Callable[[], float],
        probe: Probe,
        spawner: Spawner,
        known: Iterable[int] = (),
    ) -> None:
        """Jobs in `known` are not started: they have ended before, or are given to `adopt`."""
        self.rules, self.clock, self.probe, self.spawner = rules, clock, probe, spawner
        self.places = [Place(device) for device in devices]
        left_out = set(known)
        self.pending = deque(job for job in range(count) if job not in left_out)
        self.tasks: dict[int, Task] = {}
        self.attempts: dict[int, int] = {}
        self.closed = False  # nothing new is started
        self.interrupted = False
        self.look_at = clock()  # when memory is read next
        self.news: list[Event] = []

    @property
    def finished(self) -> bool:
        return not (self.pending or self.tasks or self.news)

    def adopt(self, job: int, names: Iterable[str], began: float, attempt: int) -> None:
        """Take over a job that runs already, on the devices of these names."""
        wanted = set(names)
        places = [place for place in self.places if place.device.name in wanted]
        self._settle(job, places, began)
        self.attempts[job] = attempt
        self.news.append(Event(job, "adopted", attempt, tuple(sorted(wanted))))

    def step(self) -> list[Event]:
        """Whatever is due now: endings and stops; or, if there are none to be written down first, new starts."""
        now = self.clock()
        for ending in self.spawner.ended():
            self._end(ending, now)
        for task in self.tasks.values():
            self._enforce(task, now)
        if not self.news and self._looks() and now >= self.look_at:
            self._look(now)
            self._place(now)
        news, self.news = self.news, []
        return news

    def wake(self) -> float | None:
        """The next moment that nothing else announces; None: only endings matter."""
        moments = [task.stop_at for task in self.tasks.values() if task.stop_at is not None]
        if self._looks():
            moments.append(self.look_at)
        return min(moments, default=None)

    def interrupt(self) -> None:
        """Start nothing more and stop what runs; the second time, at once."""
        now = self.clock()
        self._cancel("the queue was stopped")
        for task in self.tasks.values():
            if self.interrupted or not task.asked:
                task.stop_at = now
            task.reason = task.reason or Outcome.INTERRUPTED
        self.interrupted = True

    def young(self, place: Place, now: float) -> int:
        """Jobs whose memory is not yet to be seen."""
        return sum(now - self.tasks[job].began < self.rules.reserve_s for job in place.jobs)

    def _looks(self) -> bool:
        """Whether anything depends on the GPUs' memory, or on a free place."""
        if any(place.releasing for place in self.places):
            return True
        return bool(self.pending) and any(len(place.jobs) < place.device.slots for place in self.places)

    def _look(self, now: float) -> None:
        readings: Mapping[str, Memory] = {}
        if any(place.device.measured for place in self.places):
            readings = self.probe()
        for place in self.places:
            place.memory = readings.get(place.device.name)
            used = place.memory.used if place.memory else float("inf")
            place.releasing = [(until, below) for until, below in place.releasing if now < until and used > below]
        self.look_at = now + self.rules.poll_s

    def _place(self, now: float) -> None:
        while self.pending:
            devices = choose([self._load(place, now) for place in self.places], self.rules)
            if devices is None:
                return
            job = self.pending.popleft()
            self.attempts[job] = self.attempts.get(job, 0) + 1
            self._settle(job, [place for place in self.places if place.device in devices], now)
            names = tuple(device.name for device in devices)
            self.news.append(Event(job, "started", self.attempts[job], names))
            self.spawner.start(job, self.attempts[job], devices)

    def _load(self, place: Place, now: float) -> Load:
        taken = len(place.jobs) + len(place.releasing)
        return Load(place.device, taken, self.young(place, now), place.memory)

    def _settle(self, job: int, places: list[Place], began: float) -> None:
        limit = self.rules.job_timeout_s
        before = {place.device.name: place.memory.used for place in places if place.memory}
        self.tasks[job] = Task(job, places, began, before, stop_at=None if limit is None else began + limit)
        for place in places:
            place.jobs.add(job)

    def _enforce(self, task: Task, now: float) -> None:
        """TERM when the time is over, KILL after the grace, and again until the processes are gone."""
        if task.stop_at is None or now < task.stop_at:
            return
        task.reason = task.reason or Outcome.TIMED_OUT
        self.spawner.stop(task.job, hard=task.asked)
        what = "killing" if task.asked else "terminating"
        self._tell(Event(task.job, what, self.attempts[task.job], text=task.reason.value))
        task.stop_at = now + (REPEAT if task.asked else self.rules.grace_s)
        task.asked = True

    def _end(self, ending: Ending, now: float) -> None:
        task = self.tasks.pop(ending.job)
        for place in task.places:
            self._leave(place, task, now)
        self.look_at = now
        attempt, seconds = self.attempts[task.job], now - task.began
        text = ending.text
        if task.reason is Outcome.TIMED_OUT:
            text = f"timed out after {self.rules.job_timeout_s:g} s\n{text}"
        elif task.reason is Outcome.INTERRUPTED:
            text = f"stopped with the queue; the same command goes on\n{text}"
        outcome = Outcome.DONE if ending.code == 0 else task.reason or Outcome.FAILED
        names = tuple(place.device.name for place in task.places)
        if self._again(outcome, text, attempt):
            self.pending.append(task.job)
            self._tell(Event(task.job, "retrying", attempt, names, ending.code, text, seconds))
            return
        self._tell(Event(task.job, "ended", attempt, names, ending.code, text, seconds, outcome))
        if self.rules.fail_fast and outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
            self._cancel("another run failed, and fail_fast is set")

    def _again(self, outcome: Outcome, text: str, attempt: int) -> bool:
        if self.closed or outcome not in (Outcome.FAILED, Outcome.TIMED_OUT) or attempt > self.rules.retries:
            return False
        return self.rules.again(text)

    def _leave(self, place: Place, task: Task, now: float) -> None:
        """A place on a measured GPU is closed for a while, unless other jobs of ours blur what is measured."""
        place.jobs.discard(task.job)
        name = place.device.name
        if place.device.measured and not place.jobs and name in task.before and self.rules.release_wait_s:
            below = task.before[name] + self.rules.release_below_gb
            place.releasing.append((now + self.rules.release_wait_s, below))

    def _cancel(self, why: str) -> None:
        self.closed = True
        for job in self.pending:
            self._tell(Event(job, "ended", self.attempts.get(job, 0), text=why, outcome=Outcome.CANCELLED))
        self.pending.clear()

    def _tell(self, event: Event) -> None:
        self.news.append(event)
