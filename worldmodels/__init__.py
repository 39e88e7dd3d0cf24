"""World models from one command line: record, learn, act, look inside, repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from worldmodels.launch.restore import Run

__version__ = "0.1.0"


def load(folder: str | PathLike[str], checkpoint: str = "last") -> Run:
    """A run that was trained, on the CPU: its policy, its worlds, its result. `checkpoint` is "last" or "best"."""
    from worldmodels.launch.restore import load

    return load(folder, checkpoint)
