"""Formats of episodes for store_formats.py: each writes and reads as suits it, and hands out a batch as one array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import zarr
from stores import lived

from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.store import EpisodeStore

SHAPE, LENGTH, WINDOW = (64, 64, 3), 500, 64
SIZE = int(np.prod(SHAPE))
Reader = Callable[[np.ndarray], np.ndarray]  # (B, 2) episode and first step -> frames (B, WINDOW + 1, ...)


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
            store.extend(lived(number, image))
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
