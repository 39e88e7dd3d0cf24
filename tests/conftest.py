"""Every test checks every shape: jaxtyping and beartype watch the whole package. Runs pay nothing for it.

Where many updates follow that do what the first did, those alone are watched; see typecheck.py.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has Ctrl-C ignored, by them and by all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path.append(str(Path(__file__).parent))  # for typecheck.py

import pytest
from jaxtyping import install_import_hook

HOOK = install_import_hook("worldmodels", "typecheck.check")

import torch

torch.set_num_threads(1)

# Workers take a file at a time. What takes long is begun first, so that no worker is left with it at the end.
LONG = tuple(
    f"tests/{name}.py"
    for name in (
        *("cluster/test_slurm", "test_readme", "test_resume"),
        *("cluster/test_local", "test_signals", "test_experiments", "test_learns"),
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((i for i, file in enumerate(LONG) if item.nodeid.startswith(file)), len(LONG)))
