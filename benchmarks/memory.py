"""What memory learning takes: a run on MinAtar, and a replay of a million pictures that is larger than memory may be.

    python benchmarks/memory.py [--steps 1000000] [--updates 1000] [--folder /tmp] [word ...]

The run is `python train.py` (the demo, or what the words say) for so many updates. The replay is written and then drawn
from in a process of its own: episodes of 1,000 steps of 64 x 64 x 3 in pieces, as a driver hands them over, and then
batches of 16 windows of 64 steps. `own` is memory that only this process has, at its highest; `mapped` are pages of
files that it looked at, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from stores import lived

from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.sampler import Uniform
from worldmodels.data.store import EpisodeStore

SHAPE, LENGTH = (64, 64, 3), 1000
SPEC = EnvSpec("bench", {"image": ArraySpec(SHAPE, "uint8", "image")}, 4)


class Watch:
    """The largest memory of a process while it is watched, in MB."""

    def __init__(self, process: int | str = "self") -> None:
        self.status, self.own, self.mapped, self.over = Path(f"/proc/{process}/status"), 0.0, 0.0, False
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.over:
            try:
                lines = dict(line.split(":", 1) for line in self.status.read_text().splitlines())
            except (FileNotFoundError, ProcessLookupError):
                return  # it has ended
            if "RssAnon" in lines:  # not of one that has just ended
                self.own = max(self.own, int(lines["RssAnon"].split()[0]) / 1e3)
                self.mapped = max(self.mapped, int(lines["RssFile"].split()[0]) / 1e3)
            time.sleep(0.01)

    def __str__(self) -> str:
        return f"{self.own:9.0f} {self.mapped:9.0f}"


def run(words: list[str], updates: int) -> None:
    with tempfile.TemporaryDirectory() as runs:
        entry = Path(__file__).parents[1] / "train.py"
        command = [
            sys.executable,
            str(entry),
            *words,
            f"budget.updates={updates}",
            f"paths.runs={runs}",
            "name=memory",
            "callback.progress=null",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        watch = Watch(process.pid)
        if process.wait():
            sys.exit(f"{' '.join(command)} failed")
        watch.over = True
        print(f"{'train.py ' + ' '.join(words):<40} {watch}", flush=True)


def replay(steps: int, place: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=place) as folder, EpisodeStore.create(Path(folder) / "store", SPEC) as store:
        frames = np.random.default_rng(0).integers(0, 256, (LENGTH + 1, *SHAPE), np.uint8)
        before, watch = Watch(), Watch()
        time.sleep(0.1)
        before.over = True
        print(f"{'before the replay':<40} {before}", flush=True)
        for number in range(steps // LENGTH):
            for piece in lived(number, frames):
                store.extend([piece])
        watch.over = True
        print(f"{f'writing {steps * frames[0].nbytes / 1e9:.1f} GB':<40} {watch}", flush=True)
        watch, sampler, rng = Watch(), Uniform(64, 16), Rng(0, "benchmark")
        for _ in range(300):
            sampler.sample(store, rng)
        watch.over = True
        print(f"{'drawing 300 batches':<40} {watch}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="of the run")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of the replay")
    parser.add_argument("--updates", type=int, default=1000, help="of the run")
    parser.add_argument("--folder", default=None, help="where the replay lies; default: the temporary folder")
    options = parser.parse_args()
    print(f"{'peak memory in MB':<40} {'own':>9} {'mapped':>9}")
    replay(options.steps, options.folder)
    run(options.words, options.updates)


if __name__ == "__main__":
    main()
