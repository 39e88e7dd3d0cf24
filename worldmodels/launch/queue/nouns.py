"""What the queue speaks of: rules, devices and their memory, how a job ended, what happened. Sizes are in GiB."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from worldmodels.core.errors import ConfigError

OUT_OF_MEMORY = (
    "out of memory",
    "OutOfMemoryError",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "Cannot allocate memory",
    "^MemoryError",
)


@dataclass(frozen=True)
class Rules:
    """How jobs are placed, timed, stopped and tried again. Times are in seconds.

    max_used_gb: a GPU that uses more than this takes no job.
    reserve_gb: what a job that is younger than `reserve_s` is taken to use on top of what is measured. None: unknown,
        so a GPU with such a young job takes no other one.
    release_wait_s: a place stays closed for at most so long after its job, until the GPU's memory is within
        `release_below_gb` of what it was before that job.
    grace_s: between TERM and KILL.
    retry_on: patterns; a failed job whose last lines match one is started again, at most `retries` times.
    fail_fast: after a failure nothing new is started.
    """

    gpus_per_job: int = 1
    max_used_gb: float | None = None
    reserve_gb: float | None = None
    reserve_s: float = 30.0
    poll_s: float = 2.0
    release_wait_s: float = 30.0
    release_below_gb: float = 1.0
    job_timeout_s: float | None = None
    grace_s: float = 30.0
    retries: int = 1
    retry_on: tuple[str, ...] = OUT_OF_MEMORY
    fail_fast: bool = False

    def __post_init__(self) -> None:
        for name, low in (("gpus_per_job", 1), ("retries", 0), ("grace_s", 0), ("reserve_s", 0), ("release_wait_s", 0)):
            if getattr(self, name) < low:
                raise ConfigError(
                    f"{name}={getattr(self, name)}", f"at least {low}", f"set hydra.launcher.{name} to one"
                )
        for name in ("poll_s", "job_timeout_s", "reserve_gb"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name}={value}", "more than 0", f"set hydra.launcher.{name} to a positive number")
        for pattern in self.retry_on:
            try:
                re.compile(pattern)
            except re.error as error:
                do = f"mend it in hydra.launcher.retry_on: {error}"
                raise ConfigError(f"retry_on: {pattern!r}", "a regular expression", do) from error

    def again(self, text: str) -> bool:
        """Whether what a failed job said last is a reason to start it again."""
        return any(re.search(pattern, text, re.IGNORECASE | re.MULTILINE) for pattern in self.retry_on)


@dataclass(frozen=True)
class Device:
    """A GPU, or all CPU slots together, which have no memory to measure.

    name: what a probe calls it and people read; visible: how CUDA_VISIBLE_DEVICES names it, None for CPUs.
    """

    name: str
    slots: int
    visible: str | None = None
    measured: bool = False


@dataclass(frozen=True)
class Memory:
    """Of one GPU, whoever uses it."""

    used: float
    total: float | None = None


@dataclass(frozen=True)
class Ending:
    """A job's processes are gone. code: as of a shell's child; negative: the signal that ended it."""

    job: int
    code: int
    text: str = ""


class Outcome(Enum):
    """How a job ended for good."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"  # never started, or not again


@dataclass(frozen=True)
class Event:
    """Something that happened to a job. `outcome` is set when it has ended for good."""

    job: int
    what: str  # started, adopted, retrying, terminating, killing, ended
    attempt: int
    devices: tuple[str, ...] = ()
    code: int | None = None
    text: str = ""
    seconds: float | None = None
    outcome: Outcome | None = None


Probe = Callable[[], Mapping[str, "Memory"]]  # memory by device; devices that can not be read are absent


@runtime_checkable
class Spawner(Protocol):
    """Runs jobs as processes."""

    def start(self, job: int, attempt: int, devices: Sequence[Device]) -> None:
        """Start it. Whatever goes wrong is told as an ending."""
        ...

    def ended(self) -> Iterable[Ending]:
        """Jobs all of whose processes are gone, each once."""
        ...

    def stop(self, job: int, *, hard: bool) -> None:
        """TERM, or KILL, to all processes of the job. `ended` tells when they are gone."""
        ...
