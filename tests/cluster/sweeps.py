"""Sweeps of tiny runs as a user starts them: `python train.py -m ...` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "tests" / "launch"
WORDS = ("--config-dir", str(TINY / "conf"), "+experiment=tiny", "stage._target_=brittle.Brittle", "+stage.needs=null")


def environment(path: Path | None = None) -> dict[str, str]:
    """With the modules of tiny runs, and commands of `path` before others."""
    modules = os.pathsep.join([str(TINY), str(Path(__file__).parent)])
    commands = os.environ["PATH"] if path is None else f"{path}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1", "PATH": commands}


def start(words: Sequence[str], *, path: Path | None = None) -> subprocess.Popen[str]:
    """`python train.py -m`, in a session of its own."""
    command = [sys.executable, str(REPOSITORY / "train.py"), "-m", *WORDS, *words]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(path),
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], seconds: float = 240.0) -> tuple[int, str]:
    """Exit code and all that was printed."""
    try:
        told = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"hangs; so far: {process.communicate()[0]}") from None
    return process.returncode, told


def sweep(words: Sequence[str], *, path: Path | None = None, seconds: float = 240.0) -> tuple[int, str]:
    return end(start(words, path=path), seconds)


def single(words: Sequence[str]) -> None:
    """The same run without a cluster."""
    command = [sys.executable, str(REPOSITORY / "train.py"), *WORDS, *words]
    subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)


def until(true: Callable[[], object], seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "in vain"
        time.sleep(0.1)
