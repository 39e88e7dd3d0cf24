"""Which file format for episodes: the same steps written and read as random windows, in one run.

    python benchmarks/store_formats.py [--steps 20000] [--folder /tmp] [--only ours lance]

Frames are 64x64x3 uint8 with sprites that move over a fixed background, so they compress about as well as a simple
game does; rewards and actions lie beside them. Every format is given a way of writing and reading that suits it, and
each batch is assembled as one array. `cold` means that the files' pages were dropped from the page cache before. The
formats take turns at being read, and the best of their turns count, because other work on the machine can only slow
them down.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from formats import FORMATS, LENGTH, SHAPE, WINDOW, Reader
from rich.console import Console
from rich.table import Table
from stores import forget

BATCH = 16


def frames(steps: int, seed: int) -> np.ndarray:
    """Ten sprites that bounce over a background of noise that stays, as (T, 64, 64, 3)."""
    rng = np.random.default_rng(seed)
    out = np.repeat(rng.integers(0, 60, (1, *SHAPE), np.uint8), steps, 0)
    place, speed = rng.uniform(0, 56, (10, 2)), rng.uniform(-3, 3, (10, 2))
    colour = rng.integers(100, 255, (10, 3), np.uint8)
    for t in range(steps):
        place += speed
        speed[(place < 0) | (place > 56)] *= -1
        for (y, x), c in zip(np.clip(place, 0, 56).astype(int), colour, strict=True):
            out[t, y : y + 8, x : x + 8] = c
    return out


def windows_per_second(read: Reader, episodes: list[np.ndarray], seconds: float) -> float:
    """Checks the first batch against what was written."""
    rng, count, begin = np.random.default_rng(0), 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        key = np.stack([rng.integers(len(episodes), size=BATCH), rng.integers(LENGTH - WINDOW, size=BATCH)], 1)
        got = read(key)
        if not count:
            for window, (number, first) in zip(got, key, strict=True):
                np.testing.assert_array_equal(window, episodes[number][first : first + WINDOW + 1])
        count += BATCH
    return count / (time.perf_counter() - begin)


class Measured(NamedTuple):
    """Of one format; megabytes of frames, windows and seconds."""

    written: float  # MB/s
    size: float  # MB on disk
    opened: float  # ms
    cold: float  # windows/s
    warm: float  # windows/s


def write(form: Any, episodes: list[np.ndarray], place: str | None) -> tuple[Path, float]:
    """A folder with the episodes in that format, and the seconds it took; ImportError if a package is missing."""
    folder = Path(tempfile.mkdtemp(dir=place))
    begin = time.perf_counter()
    try:
        form.write(folder, episodes)
    except ImportError:
        shutil.rmtree(folder)
        raise
    return folder, time.perf_counter() - begin


def measure(form: Any, folder: Path, written: float, episodes: list[np.ndarray], seconds: float) -> Measured:
    """One turn of a format that was written."""
    on_disk = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    forget(folder)
    begin = time.perf_counter()
    read = form.open(folder)
    opened = time.perf_counter() - begin
    forget(folder)
    # Cold: short, so that few windows meet pages that earlier ones brought in.
    cold = windows_per_second(read, episodes, 0.2)
    warm = windows_per_second(read, episodes, seconds)
    size = sum(image.nbytes for image in episodes)
    return Measured(size / 1e6 / written, on_disk / 1e6, opened * 1e3, cold, warm)


def best(turns: list[Measured]) -> Measured:
    one = turns[0]
    return Measured(one.written, one.size, *(f(x[i] for x in turns) for i, f in ((2, min), (3, max), (4, max))))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of warm reading per turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], help="formats whose names contain one of these")
    parser.add_argument("--folder", default=None, help="where to put the files; default: the temporary folder")
    return parser.parse_args()


def main() -> None:
    asked = parsed()
    episodes = [frames(LENGTH + 1, seed) for seed in range(asked.steps // LENGTH)]
    size = sum(image.nbytes for image in episodes)
    there: dict[str, tuple[Path, float]] = {}
    turns: dict[str, list[Measured]] = {}
    try:
        for name in FORMATS:
            if any(word in name for word in asked.only):
                try:
                    there[name] = write(FORMATS[name], episodes, asked.folder)
                except ImportError as missing:
                    print(f"{name} is not measured: {missing}")
        for name in [*there] * asked.turns:
            turns.setdefault(name, []).append(measure(FORMATS[name], *there[name], episodes, asked.seconds))
    finally:
        for folder, _ in there.values():
            shutil.rmtree(folder)
    title = f"{len(episodes) * LENGTH} steps of 64x64x3, {size / 1e6:.0f} MB; windows of {WINDOW}, {BATCH} at a time"
    table = Table(title=title)
    for column in ("format", "write MB/s", "size MB", "open ms", "windows/s cold", "windows/s warm"):
        table.add_column(column, justify="left" if column == "format" else "right")
    for name, measured in turns.items():
        table.add_row(name, *(f"{cell:,.0f}" for cell in best(measured)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
