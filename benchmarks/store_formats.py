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
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import zarr
from rich.console import Console
from rich.table import Table

from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.store import EpisodeStore

SHAPE, LENGTH, BATCH, WINDOW = (64, 64, 3), 500, 16, 64
SIZE = int(np.prod(SHAPE))
Reader = Callable[[np.ndarray], np.ndarray]  # (B, 2) episode and first step -> frames (B, WINDOW + 1, ...)


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


def gathered(read: Callable[[int, int], np.ndarray]) -> Reader:
    """A batch from a function that reads one window."""

    def batch(key: np.ndarray) -> np.ndarray:
        out = np.empty((len(key), WINDOW + 1, *SHAPE), np.uint8)
        for row, (number, first) in zip(out, key.tolist(), strict=True):
            row[:] = read(number, first)
        return out

    return batch


class Ours:
    """Pieces of 64 steps; every array comes back, not the frames alone."""

    def __init__(self, *compress: str) -> None:
        self.compress = compress

    def write(self, folder: Path, episodes: list[np.ndarray]) -> None:
        spec = EnvSpec("bench", {"image": ArraySpec(SHAPE, "uint8", "image")}, 4)
        store = EpisodeStore.create(folder / "s", spec, compress=self.compress)
        for number, image in enumerate(episodes):
            for start in range(0, LENGTH, 64):
                part = image[start : min(start + 64, LENGTH) + 1]
                steps = len(part) - 1
                action, reward = np.zeros(steps, np.int64), np.zeros(steps, np.float32)
                ended = start + steps == LENGTH
                store.extend([Episode({"image": part}, action, reward, ended, False, number=number, start=start)])
        store.close()

    def open(self, folder: Path) -> Reader:
        store = EpisodeStore.open(folder / "s")
        return lambda key: store.windows(key, WINDOW).obs["image"].numpy()


class Npz:
    """One file per episode, as DreamerV3 keeps its replay. A window needs the whole file."""

    def __init__(self, compressed: bool) -> None:
        self.save = np.savez_compressed if compressed else np.savez

    def write(self, folder: Path, episodes: list[np.ndarray]) -> None:
        for number, image in enumerate(episodes):
            self.save(folder / f"{number}.npz", image=image, reward=np.zeros(LENGTH, np.float32))

    def open(self, folder: Path) -> Reader:
        def read(number: int, first: int) -> np.ndarray:
            with np.load(folder / f"{number}.npz") as file:
                return file["image"][first : first + WINDOW + 1]

        return gathered(read)


class NpyShards:
    """One file per `steps` steps of an episode, all of them mapped once and kept so; by default one per episode.

    A shard of fewer steps is what can be written while the episode runs; a window then spans several files.
    """

    def __init__(self, steps: int = LENGTH + 1) -> None:
        self.steps = steps

    def write(self, folder: Path, episodes: list[np.ndarray]) -> None:
        for number, image in enumerate(episodes):
            for start in range(0, LENGTH + 1, self.steps):
                part = image[start : start + self.steps]
                np.save(folder / f"{number}-{start}.image.npy", part)
                np.save(folder / f"{number}-{start}.reward.npy", np.zeros(len(part), np.float32))

    def open(self, folder: Path) -> Reader:
        maps = {
            tuple(map(int, path.name.partition(".")[0].split("-"))): np.load(path, mmap_mode="r")
            for path in folder.glob("*.image.npy")
        }

        def batch(key: np.ndarray) -> np.ndarray:
            out = np.empty((len(key), WINDOW + 1, *SHAPE), np.uint8)
            for row, (number, first) in zip(out, key.tolist(), strict=True):
                at, end = first, first + WINDOW + 1
                while at < end:
                    start = at - at % self.steps
                    part = maps[number, start][at - start : end - start]
                    row[at - first : at - first + len(part)] = part
                    at += len(part)
            return out

        return batch


class Hdf5:
    """A group per episode, as in Minari and D4RL."""

    def __init__(self, **options: object) -> None:
        self.options = options

    def write(self, folder: Path, episodes: list[np.ndarray]) -> None:
        with h5py.File(folder / "data.h5", "w") as file:
            for number, image in enumerate(episodes):
                group = file.create_group(str(number))
                group.create_dataset("image", data=image, **self.options)
                group.create_dataset("reward", data=np.zeros(LENGTH, np.float32))

    def open(self, folder: Path) -> Reader:
        file = h5py.File(folder / "data.h5")
        return gathered(lambda number, first: file[str(number)]["image"][first : first + WINDOW + 1])


class Zarr:
    """One array over all episodes in chunks of 64 frames."""

    def __init__(self, **options: object) -> None:
        self.options = options

    def write(self, folder: Path, episodes: list[np.ndarray]) -> None:
        shape = (len(episodes) * (LENGTH + 1), *SHAPE)
        array = zarr.create_array(folder / "z", shape=shape, chunks=(64, *SHAPE), dtype="uint8", **self.options)
        for number, image in enumerate(episodes):
            array[number * (LENGTH + 1) : (number + 1) * (LENGTH + 1)] = image

    def open(self, folder: Path) -> Reader:
        array = zarr.open_array(folder / "z", mode="r")
        return gathered(lambda n, t: array[n * (LENGTH + 1) + t : n * (LENGTH + 1) + t + WINDOW + 1])


class Lance:
    """A row per step, frames as lists of fixed size; a batch is one `take`. Needs pyarrow, which may need numpy 2."""

    def write(self, folder: Path, episodes: list[np.ndarray]) -> None:
        import lance
        import pyarrow as pa

        schema = pa.schema([("image", pa.list_(pa.uint8(), SIZE)), ("reward", pa.float32())])

        def batches():
            for image in episodes:
                flat = pa.FixedSizeListArray.from_arrays(pa.array(image.reshape(-1)), SIZE)
                yield pa.record_batch([flat, pa.array(np.zeros(len(image), np.float32))], schema)

        lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), folder / "data.lance")

    def open(self, folder: Path) -> Reader:
        import lance

        data = lance.dataset(folder / "data.lance")

        def batch(key: np.ndarray) -> np.ndarray:
            rows = (key[:, :1] * (LENGTH + 1) + key[:, 1:] + np.arange(WINDOW + 1)).ravel()
            order, back = np.unique(rows, return_inverse=True)
            column = data.take(order, columns=["image"])["image"].combine_chunks()
            return column.flatten().to_numpy().reshape(-1, *SHAPE)[back].reshape(len(key), WINDOW + 1, *SHAPE)

        return batch


FORMATS = {
    "ours: flat arrays, checksums": Ours(),
    "ours: frames deflated": Ours("image"),
    "npz per episode": Npz(compressed=False),
    "npz per episode, deflated": Npz(compressed=True),
    "npy per episode, mapped": NpyShards(),
    "npy per 64 steps, mapped": NpyShards(64),
    "HDF5 contiguous": Hdf5(),
    "HDF5 chunks of 64": Hdf5(chunks=(64, *SHAPE)),
    "HDF5 chunks of 16, lzf": Hdf5(chunks=(16, *SHAPE), compression="lzf"),
    "zarr chunks of 64": Zarr(compressors=None),
    "zarr chunks of 64, zstd": Zarr(),
    "lance": Lance(),
}


def forget(folder: Path) -> None:
    """Ask the operating system to drop these files from its page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


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
