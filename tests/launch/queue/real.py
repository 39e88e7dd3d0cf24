"""Runs of shell commands for queues of real processes; as a script, a queue in a process of its own.

    python real.py <folder> <options as JSON>

options: commands (a shell command per run), slots, rules, results.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldmodels.launch.queue.nouns import Device, Rules
from worldmodels.launch.queue.probe import Blind
from worldmodels.launch.queue.queue import Queue
from worldmodels.launch.queue.record import Results
from worldmodels.launch.queue.run import Run


def runs(folder: Path, commands: Sequence[str]) -> list[Run]:
    """In folders 0, 1, 2 ... of a study."""
    return [
        Run(folder / str(number), ("/bin/sh", "-c", command), (f"seed={number}",), f"seed={number}", {"seed": number})
        for number, command in enumerate(commands)
    ]


def queue(
    folder: Path, commands: Sequence[str], *, slots: int = 3, devices: Sequence[Device] = (), **rules: Any
) -> Queue:
    """A queue on CPU slots, or on `devices`, that has run to its end."""
    found = Queue(
        runs(folder, commands),
        devices or [Device("cpu", slots)],
        Rules(**rules),
        Blind(),
        threads=1,
        results=Results(folder / "results.json", []),
    )
    found.run()
    return found


def main() -> int:
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    work = runs(folder, options["commands"])
    found = Queue(
        work,
        [Device("cpu", options.get("slots", 3))],
        Rules(**options.get("rules", {})),
        Blind(),
        results=Results(folder / "results.json", work),
    )
    found.run()
    if found.stopped_by is not None:
        return 128 + found.stopped_by
    return 0 if all(run.outcome is not None and run.outcome.value == "done" for run in work) else 1


if __name__ == "__main__":
    sys.exit(main())
