"""What an LSF job may ask for, typed, and checked before anything is submitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from worldmodels.core.errors import ConfigError

Reserve = Literal["host", "slot", "none"]
GpuMode = Literal["shared", "exclusive_process"]
POSITIVE = ("time", "nodes", "tasks_per_node", "cpus_per_task", "array_parallelism", "array_size", "mem_gb")
POSITIVE_TOO = ("mem_limit_gb", "gmem_gb", "requeue_exit_code")


@dataclass(frozen=True)
class Parameters:
    """One field per option; names shared by all of submitit's executors are mapped to these by `EQUIVALENT`.

    time: run limit in minutes (-W), of the job's clock if the site does not scale it by the host's speed.
    signal_delay_s: that long before the limit LSF warns with USR2 (-wa, -wt), rounded up to minutes.
    mem_gb: reserved on each host (rusage). mem_reserve: what the site counts it by: `host`, LSF's default; `slot` where
        RESOURCE_RESERVE_PER_TASK=Y; `none` reserves nothing.
    mem_limit_gb: a limit as well (-M). gmem_gb: of each GPU. gpus_per_node: on each host.
    resources: requirements beyond ours, one -R each. select, exclude: of hosts. span: instead of ours.
    requeue_exit_code: end with this code instead of calling brequeue, and let LSF queue the job again (-Q).
    setup: shell lines before the tasks. additional_parameters: option -> value, or true for an option without one.
    array_size: elements of one array at most (the site's MAX_JOB_ARRAY_SIZE); more jobs become several arrays.
    """

    job_name: str = "worldmodels"
    time: int = 60
    mem_gb: float | None = None
    nodes: int = 1
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    tasks_per_node: int = 1
    stderr_to_stdout: bool = False
    queue: str | None = None
    project: str | None = None
    app: str | None = None
    user_group: str | None = None
    resources: Sequence[str] = ()
    select: str | None = None
    exclude: Sequence[str] = ()
    span: str | None = None
    mem_reserve: Reserve = "host"
    mem_limit_gb: float | None = None
    gpu_mode: GpuMode | None = None
    j_exclusive: bool | None = None
    gmem_gb: float | None = None
    gmodel: str | None = None
    signal_delay_s: int = 120
    array_parallelism: int = 256
    array_size: int = 1000
    requeue_exit_code: int | None = None
    setup: Sequence[str] = ()
    additional_parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*POSITIVE, *POSITIVE_TOO):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name}={value}", "a number above 0", f"give another {name}")
        if self.warning >= self.time:
            raise ConfigError(
                f"signal_delay_s={self.signal_delay_s} with a limit of {self.time} minutes",
                f"a warning (in whole minutes: {self.warning}) that comes after the job's beginning",
                f"give timeout_min above {self.warning}, or a shorter signal_delay_s; 0 is no warning",
            )

    @property
    def warning(self) -> int:
        """Minutes between the warning and the run limit; 0 is no warning."""
        return math.ceil(self.signal_delay_s / 60)

    @property
    def tasks(self) -> int:
        return self.nodes * self.tasks_per_node

    @property
    def slots_per_node(self) -> int:
        return self.tasks_per_node * (self.cpus_per_task or 1)


EQUIVALENT = {
    "name": "job_name",
    "timeout_min": "time",
    "mem_gb": "mem_gb",
    "nodes": "nodes",
    "cpus_per_task": "cpus_per_task",
    "gpus_per_node": "gpus_per_node",
    "tasks_per_node": "tasks_per_node",
}


def known() -> set[str]:
    return {each.name for each in fields(Parameters)}


def parameters(options: Mapping[str, Any]) -> Parameters:
    """Typed and checked, from names and values."""
    strange = sorted(set(options) - known())
    if strange:
        raise ConfigError(
            f"LSF options that do not exist: {', '.join(strange)}",
            f"one of {', '.join(sorted(known()))}",
            "what bsub knows beyond these goes in additional_parameters, such as {-sla: gold}",
        )
    given = {name: value for name, value in options.items() if value is not None}
    hints = get_type_hints(Parameters)
    for name, value in given.items():
        _demand(name, value, hints[name])
    return Parameters(**given)


def _demand(name: str, value: Any, hint: Any) -> None:
    """ConfigError unless a value that is there has the type of its field."""
    text = str(hint)
    choices = [choice for part in (hint, *get_args(hint)) for choice in get_args(part) if isinstance(choice, str)]
    if choices:
        fits = value in choices
    elif "Sequence" in text:
        fits = isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)
    elif "Mapping" in text:
        fits = isinstance(value, Mapping)
    else:
        kinds = get_args(hint) or (hint,)
        fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
        fits = fits and not (isinstance(value, bool) and bool not in kinds)
    if not fits:
        expected = f"one of {', '.join(choices)}" if choices else text.replace("collections.abc.", "")
        raise ConfigError(f"{name}={value!r}", expected, f"give another {name}")
