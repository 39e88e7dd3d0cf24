"""Where a run comes from: commit, changes, versions, machine, command."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldmodels import __version__
from worldmodels.core.files import write_text

PACKAGES = (
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "numpy",
    "gymnasium",
    "minatar",
    "ale-py",
    "minigrid",
    "procgen",
)
LONGEST = 200_000  # characters of a diff worth keeping


def provenance() -> dict[str, Any]:
    """Facts of this session."""
    return {
        "time": datetime.datetime.now().astimezone().isoformat("T", "seconds"),
        "command": shlex.join(["worldmodels", Path(sys.argv[0]).stem, *sys.argv[1:]]),
        "worldmodels": __version__,
        **_git(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": _versions(),
    }


def record(path: Path, *, resume: str, init: Mapping[str, Any] | None = None) -> None:
    """Append this session to the run's provenance; the first entry is where the run began.

    resume says what an interruption costs: `exact` nothing, `episode` the episodes that were open, since their world
    can not be saved. init tells of the run whose weights this one began with, empty for none; None, for a run that goes
    on, keeps what was told when it began.
    """
    known = json.loads(path.read_text()) if path.is_file() else {}
    begun = known.get("init") if init is None else init
    sessions = [*known.get("sessions", ()), provenance()]
    told = {"resume": resume, **({"init": begun} if begun else {}), "sessions": sessions}
    write_text(path, json.dumps(told, indent=2) + "\n")


def _git() -> dict[str, Any]:
    """Commit and uncommitted changes of the source tree, if it is one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None, "diff": ""}
    diff = _ask(root, "diff", "HEAD")
    return {
        "commit": _ask(root, "rev-parse", "HEAD") or None,
        "dirty": bool(_ask(root, "status", "--porcelain")),
        "diff": diff if len(diff) <= LONGEST else f"{diff[:LONGEST]}\n[cut: {len(diff)} characters in all]",
    }


def _ask(root: Path, *words: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
