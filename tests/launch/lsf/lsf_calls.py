"""What the jobs of these tests do. The stand-ins' jobs import it by name."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission


class Count:
    """Writes a line per step. Its checkpoint takes `slow` seconds and keeps how far it came."""

    def __init__(self, file: Path, steps: int, begun: int = 0, slow: float = 0.0) -> None:
        self.file, self.steps, self.begun, self.slow = file, steps, begun, slow
        self.done = begun

    def __call__(self) -> int:
        """Where the last attempt began. The cluster's clock begins with the first one."""
        Path(os.environ["LSF_STANDIN_CLOCK"]).touch()
        for step in range(self.begun, self.steps):
            with self.file.open("a") as file:
                file.write(f"{step}\n")
            self.done = step + 1
            time.sleep(0.1)
        return self.begun

    def checkpoint(self) -> DelayedSubmission:
        time.sleep(self.slow)
        return DelayedSubmission(Count(self.file, self.steps, self.done, self.slow))


def who() -> dict[str, Any]:
    env = JobEnvironment()
    return {
        "job": env.job_id,
        "rank": env.global_rank,
        "local": env.local_rank,
        "node": env.node,
        "tasks": env.num_tasks,
        "nodes": env.num_nodes,
        "hosts": list(env.hostnames),
        "here": os.environ.get("LSF_STANDIN_HOST", "hostA"),
        "python": os.environ.get("WHICH_PYTHON"),
    }


def leave(code: int) -> None:
    sys.stdout.write("leaving\n")
    sys.stdout.flush()
    os._exit(code)


def rest(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


def fail() -> None:
    raise ValueError("not today")


def call(function: Any, arguments: list[Any]) -> Any:
    return function(*arguments)
