"""A clock, a probe and a spawner for the state machine: nothing here is real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from worldmodels.launch.queue.machine import Machine
from worldmodels.launch.queue.nouns import Device, Ending, Event, Memory, Rules


@dataclass
class Job:
    """What a job does: uses so many GiB from `slow` seconds after its start, and ends after `lasts` with a code.

    deaf: it does not end at TERM; text: its last words; healed: it succeeds the second time.
    """

    lasts: float = 10.0
    gb: float = 1.0
    slow: float = 0.0
    code: int = 0
    text: str = ""
    deaf: bool = False
    healed: bool = False


@dataclass
class World:
    """GPUs with a total memory, others' use of it, and jobs on them."""

    jobs: Sequence[Job]
    devices: Sequence[Device]
    total: float = 40.0
    others: Mapping[str, float] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)  # GPUs whose probe fails
    keeps: float = 0.0  # seconds for which an ended job's memory stays used
    now: float = 0.0

    def __post_init__(self) -> None:
        self.live: dict[int, tuple[float, float, list[str]]] = {}  # job -> began, ends, devices
        self.past: list[tuple[float, float, list[str]]] = []  # until, GiB, devices
        self.starts: list[tuple[float, int, tuple[str, ...]]] = []
        self.stops: list[tuple[float, int, bool]] = []
        self.codes: dict[int, int] = {}

    def clock(self) -> float:
        return self.now

    def probe(self) -> Mapping[str, Memory]:
        return {
            device.name: Memory(self.used(device.name), self.total)
            for device in self.devices
            if device.measured and device.name not in self.blind
        }

    def used(self, name: str) -> float:
        used = self.others.get(name, 0.0)
        for job, (began, _, names) in self.live.items():
            used += self.jobs[job].gb if name in names and self.now - began >= self.jobs[job].slow else 0.0
        return used + sum(gb for until, gb, names in self.past if name in names and self.now < until)

    def start(self, job: int, attempt: int, devices: Sequence[Device]) -> None:
        assert job not in self.live
        names = [device.name for device in devices]
        self.live[job] = (self.now, self.now + self.jobs[job].lasts, names)
        self.codes[job] = 0 if self.jobs[job].healed and attempt > 1 else self.jobs[job].code
        self.starts.append((self.now, job, tuple(names)))

    def ended(self) -> Iterable[Ending]:
        over = [job for job, (_, ends, _) in self.live.items() if self.now >= ends]
        for job in over:
            self.past.append((self.now + self.keeps, self.jobs[job].gb, self.live.pop(job)[2]))
        return [Ending(job, self.codes[job], self.jobs[job].text) for job in over]

    def stop(self, job: int, *, hard: bool) -> None:
        self.stops.append((self.now, job, hard))
        if job in self.live and (hard or not self.jobs[job].deaf):
            began, _, names = self.live[job]
            self.live[job] = (began, self.now, names)
            self.codes[job] = -9 if hard else 143

    def machine(self, rules: Rules, known: Iterable[int] = ()) -> Machine:
        return Machine(
            len(self.jobs), self.devices, rules, clock=self.clock, probe=self.probe, spawner=self, known=known
        )

    def advance(self, machine: Machine) -> None:
        """To the next moment at which something happens, which may be now."""
        moments = [ends for _, ends, _ in self.live.values()]
        wake = machine.wake()
        if wake is not None and wake <= self.now:
            return
        moments += [wake] if wake is not None else []
        assert moments, "nothing will ever happen again"
        self.now = max(self.now + 1e-3, min(moments))


def run(world: World, machine: Machine, *, until: float = 1e5) -> list[Event]:
    """All that happens."""
    events = []
    while not machine.finished and world.now < until:
        events += machine.step()
        if not machine.finished:
            world.advance(machine)
    return events


def gpus(count: int, slots: int = 1) -> list[Device]:
    return [Device(str(number), slots, visible=str(number), measured=True) for number in range(count)]
