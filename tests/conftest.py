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

# Tests that mostly wait for other processes; begun first, so that no worker is left with them at the end. Those of a
# folder or file are done by one worker: they share a cluster, or a place that is costly to make.
TOGETHER = ("tests/cluster/test_slurm.py", "tests/test_readme.py", "tests/cluster/test_local.py", "tests/launch/lsf/")


def together(nodeid: str) -> str | None:
    return next((place for place in TOGETHER if nodeid.startswith(place)), None)


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = together(item.nodeid)
        if place:
            item.add_marker(pytest.mark.xdist_group(Path(place).stem))
    items.sort(key=lambda item: together(item.nodeid) is None)
