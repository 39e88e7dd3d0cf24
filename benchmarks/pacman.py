"""sheeprl's own CPU benchmark, whole runs: 16,384 steps of MsPacman with its 8-wide networks, ours beside theirs.

    python benchmarks/pacman.py [--versions v3 v2] [--peer <python>] [--threads 2] [--steps 16384]

`--peer` is the Python of an environment of sheeprl's own (see `dreamer.py`); both sides run one after the other, each
as a user would type it: one world, 1,024 steps at random, an update of 16 windows every 16 steps, from a replay on
disk, no evaluation at the end. Wall time counts, from start to exit, imports included.

sheeprl reports 906 s for DreamerV2 and 1,589 s for V3 on four CPUs (README of its version 0.5.5).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dreamer import SIZES

OURS = (
    "env=atari100k",
    "env.game=ms_pacman",
    "data.width=1",
    "data.warmup=1024",
    "data.steps_per_update=16",
    "data.updates=240",
    "data.sampler.batch=16",
    "data.sampler.cross=true",
    "callback.score=null",
    "callback.film=null",
    "evaluation={episodes:1,width:1,limit:1}",  # as good as none
    "name=pacman",
)
THEIRS = ("fabric.accelerator=cpu", "env.capture_video=False", "buffer.memmap=True")


def ours(version: str, steps: int, threads: int, folder: Path) -> list[str]:
    size = SIZES[f"{version}-small"]
    entry = Path(__file__).parents[1] / "train.py"
    words = (*size.ours, *OURS, f"budget.env_steps={steps}", f"threads={threads}", f"paths.runs={folder}")
    return [sys.executable, str(entry), *words, f"data.sampler.length={size.observations - 1}"]


def theirs(peer: str, version: str, steps: int) -> list[str]:
    start = "from sheeprl.cli import run; run()"
    return [peer, "-c", start, *SIZES[f"{version}-small"].theirs, *THEIRS, f"algo.total_steps={steps}"]


def timed(command: list[str], folder: Path, threads: int) -> tuple[float, float]:
    """Wall and CPU seconds of a process; its output goes to a file in the folder."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (folder / "output.txt").open("w") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{(folder / 'output.txt').read_text()[-3000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="+", choices=("v3", "v2"), default=["v3", "v2"])
    parser.add_argument("--peer", help="Python of an environment with sheeprl; without, only ours is measured")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16384)
    options = parser.parse_args()
    print(f"{'':<16}{'wall s':>9}{'CPU s':>9}{'steps/s':>9}")
    for version in options.versions:
        found = {}
        for side in ("ours", "sheeprl") if options.peer else ("ours",):
            with tempfile.TemporaryDirectory() as made:
                folder = Path(made)
                command = (
                    ours(version, options.steps, options.threads, folder)
                    if side == "ours"
                    else theirs(options.peer, version, options.steps)
                )
                found[side] = timed(command, folder, options.threads)
            wall, cpu = found[side]
            print(f"Dreamer{version.upper()} {side:<8}{wall:>9.0f}{cpu:>9.0f}{options.steps / wall:>9.1f}", flush=True)
        if len(found) > 1:
            print(f"ours is {found['sheeprl'][0] / found['ours'][0]:.2f} times as fast")


if __name__ == "__main__":
    main()
