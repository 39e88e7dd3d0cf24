"""Random windows for learning: the store against h5py on the same steps, in one run.

    python benchmarks/windows.py [--steps 60000] [--folder /tmp]

Batches of 16 windows of 64 steps (65 frames of 64x64x3 uint8) with action, reward and flags. h5py reads each window
with `read_direct` into one preallocated array per batch, the fastest way it has, from one dataset per array over all
episodes; its small arrays are held in memory, which spares it four reads per window. Ours makes new arrays and a whole
`Batch`, with masks, each time. Frames are noise, so that no layout gains from what compresses. A data set that grows
has to be chunked in HDF5; the contiguous one is for data that are complete when they are written.

`cold`: the files are dropped from the page cache before every batch, and the bytes that the disk delivered are shown.
`warm`: everything is in the page cache. `CPU` is the warm batches' processor time, which a busy
machine disturbs less. Freed memory is kept, as our runner does (`core/allocator.py`), for all alike.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from rich.console import Console
from rich.table import Table
from stores import forget, lived

from worldmodels.core.allocator import keep_freed_memory
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.store import EpisodeStore

SHAPE, LENGTH, BATCH, WINDOW = (64, 64, 3), 1000, 16, 64
Reader = Callable[[np.ndarray], np.ndarray]  # (B, 2) episode and first step -> frames (B, WINDOW + 1, ...)
LAYOUTS: dict[str, dict[str, object]] = {
    "h5py contiguous": {},
    "h5py chunks of 1 frame": {"chunks": (1, *SHAPE)},
    "h5py chunks of 16": {"chunks": (16, *SHAPE)},
    "h5py chunks of 64": {"chunks": (64, *SHAPE)},
    "h5py chunks of 64, lzf": {"chunks": (64, *SHAPE), "compression": "lzf"},
    "h5py chunks of 64, gzip 1": {"chunks": (64, *SHAPE), "compression": "gzip", "compression_opts": 1},
    "h5py chunks it chooses": {"chunks": True},
}


def episode(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (LENGTH + 1, *SHAPE), np.uint8)


def write_store(folder: Path, count: int) -> None:
    store = EpisodeStore.create(folder / "store", EnvSpec("bench", {"image": ArraySpec(SHAPE, "uint8", "image")}, 4))
    for number in range(count):
        store.extend(lived(number, episode(number)))
    store.close()


def open_store(folder: Path) -> Reader:
    store = EpisodeStore.open(folder / "store")
    return lambda key: store.windows(key, WINDOW).obs["image"].numpy()


def write_h5(folder: Path, count: int, options: dict[str, object]) -> None:
    with h5py.File(folder / "data.h5", "w") as file:
        image = file.create_dataset("image", (count * (LENGTH + 1), *SHAPE), "uint8", **options)
        for number in range(count):
            image[number * (LENGTH + 1) : (number + 1) * (LENGTH + 1)] = episode(number)


def open_h5(folder: Path) -> Reader:
    file = h5py.File(folder / "data.h5")
    image, out = file["image"], np.empty((BATCH, WINDOW + 1, *SHAPE), np.uint8)
    action, reward = np.zeros(len(image), np.int64), np.zeros(len(image), np.float32)

    def batch(key: np.ndarray) -> np.ndarray:
        rows = key[:, 0] * (LENGTH + 1) + key[:, 1]
        for place, row in enumerate(rows.tolist()):
            image.read_direct(out, np.s_[row : row + WINDOW + 1], np.s_[place])
        steps = rows[:, None] + np.arange(WINDOW)
        np.take(action, steps), np.take(reward, steps)
        return out

    return batch


def delivered() -> int:
    """Bytes that this process has had from disks."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])


def keys(count: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.integers(count, size=BATCH), rng.integers(LENGTH - WINDOW + 1, size=BATCH)], 1)


def measure(
    folder: Path, opening: Callable[[Path], Reader], count: int, batches: int
) -> tuple[float, float, float, float]:
    """Median milliseconds per batch, cold and warm; mean CPU milliseconds when warm; MB from the disk when cold."""
    rng, times, begin = np.random.default_rng(0), [], delivered()
    for _ in range(batches):
        forget(folder)  # a map keeps its pages, so every batch opens the files anew, outside of the clock
        read, key = opening(folder), keys(count, rng)
        start = time.perf_counter()
        got = read(key)
        times.append(time.perf_counter() - start)
    disk = (delivered() - begin) / batches
    for window, (number, first) in zip(got[:2], key[:2].tolist(), strict=True):
        np.testing.assert_array_equal(window, episode(number)[first : first + WINDOW + 1])
    read = opening(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()
    warm, busy = [], time.process_time()
    for _ in range(3 * batches):
        key, start = keys(count, rng), time.perf_counter()
        read(key)
        warm.append(time.perf_counter() - start)
    busy = (time.process_time() - busy) / len(warm)
    return float(np.median(times) * 1e3), float(np.median(warm) * 1e3), busy * 1e3, disk / 1e6


def main() -> None:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--batches", type=int, default=15)
    parser.add_argument("--folder", default=None, help="where to put the files; default: the temporary folder")
    asked = parser.parse_args()
    count = asked.steps // LENGTH
    size = count * (LENGTH + 1) * np.prod(SHAPE) / 1e6
    table = Table(title=f"{count * LENGTH} steps, {size:,.0f} MB; B={BATCH}, T={WINDOW}, 64x64x3; medians")
    for name in ("", "cold ms", "x ours", "MB from disk", "warm ms", "x ours", "CPU ms", "x ours"):
        table.add_column(name, justify="left" if not name else "right")
    rows: dict[str, tuple[float, float, float, float]] = {}
    for name in ("the store", *LAYOUTS):
        folder = Path(tempfile.mkdtemp(dir=asked.folder))
        if name in LAYOUTS:
            write_h5(folder, count, LAYOUTS[name])
        else:
            write_store(folder, count)
        os.sync()
        rows[name] = measure(folder, open_h5 if name in LAYOUTS else open_store, count, asked.batches)
        shutil.rmtree(folder)
    ours = rows["the store"]
    for name, (cold, warm, busy, disk) in rows.items():
        cells = (f"{cold:.1f}", f"{cold / ours[0]:.1f}", f"{disk:.1f}", f"{warm:.2f}", f"{warm / ours[1]:.1f}")
        table.add_row(name, *cells, f"{busy:.2f}", f"{busy / ours[2]:.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
