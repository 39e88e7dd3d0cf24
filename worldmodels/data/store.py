"""Episodes on disk, appended in pieces while they are lived and read as random windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from worldmodels.core.errors import SpecError, StoreError
from worldmodels.core.experience import Batch, Episode
from worldmodels.core.spec import ENV_ID, ArraySpec, EnvSpec
from worldmodels.data.arrays import Arrays, Sheet
from worldmodels.data.block import Block
from worldmodels.data.index import Damage, Index
from worldmodels.data.journal import Journal, Line
from worldmodels.data.labels import Labels
from worldmodels.data.layout import Layout
from worldmodels.data.listed import listed
from worldmodels.data.lock import Lock
from worldmodels.data.split import Split, split
from worldmodels.data.table import Episodes


class EpisodeStore:
    """A folder of flat arrays and an index. One process may write, any number may read at the same time.

    Episodes come in blocks of pieces, one of each. A piece of T steps takes T + 1 rows of every array; the last one
    holds the final observation and zeros, and may lie apart. A block counts from the moment its line stands in the
    index, which is written after its data: a process killed at any time leaves every counted block whole. A power cut
    may also take what the operating system had not yet put on the disk since the last `flush(sync=True)` or `close()`;
    checksums tell.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        """Use `create` or `open`."""
        self.layout, self.folder = Layout.read(folder), folder
        self.lock = Lock(folder / "writer.lock") if write else None
        self.arrays = Arrays(folder, self.layout, write=write)
        self.index = Index(Journal(folder / "index.jsonl", write=write), list(self.arrays.packed.values()))
        self._labels = Labels()
        self.refresh()
        if write:
            self.index.journal.trim()

    @staticmethod
    def create(
        folder: str | Path,
        spec: EnvSpec,
        *,
        extras: Mapping[str, ArraySpec] | None = None,
        compress: Sequence[str] = (),
        origin: Mapping[str, Any] | None = None,
    ) -> EpisodeStore:
        """A new, empty store, open for writing.

        `extras` is what the policy tells beside what the spec declares. `compress` names observations to be deflated:
        smaller files for slower windows (`benchmarks/store_formats.py`). `origin` is kept as it is.
        """
        folder = Path(folder)
        if (folder / "store.json").exists():
            raise StoreError(f"{folder} holds a store already", "a new folder", "open it, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        layout = Layout.new(spec, extras or {}, compress, origin or {})
        Arrays(folder, layout, write=True).close()
        Journal(folder / "index.jsonl", write=True).close()
        layout.write(folder)
        return EpisodeStore(folder, write=True)

    @staticmethod
    def open(folder: str | Path, *, write: bool = False, spec: EnvSpec | None = None) -> EpisodeStore:
        """An existing store; SpecError if it was made for another world than `spec`."""
        store = EpisodeStore(Path(folder), write=write)
        found = store.spec.differences(spec) if spec else []
        if found:
            store.close()
            raise SpecError(f"{folder} differs: {'; '.join(found)}", "a store of the same shapes", "use another store")
        return store

    @property
    def spec(self) -> EnvSpec:
        return self.layout.spec

    @property
    def extras(self) -> Mapping[str, ArraySpec]:
        return self.layout.extras

    @property
    def steps(self) -> int:
        return self.index.table.steps

    @property
    def next_number(self) -> int:
        """The first of the episode numbers that are free for a recording that goes on."""
        return self.index.table.highest + 1

    @property
    def episodes(self) -> Episodes:
        return self.index.table.episodes()

    def __enter__(self) -> EpisodeStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Episodes, running ones included."""
        return len(self.index.table)

    def __getitem__(self, number: int) -> Episode:
        """One episode, whole, as far as it was lived."""
        place = int((table := self.index.table).places([number])[0])
        steps = np.arange(int(table.length.values[place]) + 1)
        whole = self.arrays.take(table.rows(np.full_like(steps, place), steps))
        return Episode(
            obs={name: whole[f"obs.{name}"] for name in self.spec.obs},
            action=whole["action"][:-1],
            reward=whole["reward"][:-1],
            terminated=bool(table.terminated.values[place]),
            truncated=bool(table.truncated.values[place]),
            extras={name: whole[f"extras.{name}"][:-1] for name in self.extras},
            source=table.source[place],
            number=number,
        )

    def append(self, block: Block) -> None:
        """Add what a driver lived through. Errors as for `extend`; nothing is kept then."""
        self._demand_writer()
        self.layout.demand(block.columns)
        self.index.table.demand(block.table)
        self._write([block])

    def extend(self, pieces: Sequence[Episode]) -> None:
        """Append pieces of one or several episodes, each continuing where the store's end of its episode is.

        SpecError for other arrays, StoreError for a gap, an ended episode, or a full disk; nothing is kept then.
        """
        self._demand_writer()
        self._write(listed(pieces, self.layout, self.index.table))

    def windows(
        self,
        key: Tensor | np.ndarray,
        length: int,
        *,
        cross: bool = False,
        mix: bool = False,
        among: Int64[np.ndarray, " n"] | None = None,
    ) -> Batch:
        """Windows of `length` steps from (episode number, first step), key (B, 2).

        Without `cross` a window stays in its episode and is padded after its end. With it, the next of the episodes
        `among` (numbers; all by default) follows, and the first one follows the last. Of a mixture of worlds, only
        episodes of the same world follow, unless `mix` says otherwise.
        """
        keys, table = np.array(key, np.int64), self.index.table
        places, steps = self.moments(keys, length, cross=cross, mix=mix, among=among)
        rows = table.rows(places, steps)
        taken = {name: torch.from_numpy(array) for name, array in self.arrays.take(rows, brief=True).items()}
        return Batch(
            obs={name: taken[f"obs.{name}"] for name in self.spec.obs},
            action=taken["action"],
            reward=taken["reward"],
            terminated=taken["terminated"],
            truncated=taken["truncated"],
            first=torch.from_numpy(steps == 0),
            mask=torch.from_numpy(steps[:, :-1] < table.length.values[places[:, :-1]]),
            extras={name: taken[f"extras.{name}"] for name in self.extras},
            key=torch.from_numpy(keys),
        )

    def moments(
        self,
        key: Tensor | np.ndarray,
        length: int,
        *,
        cross: bool = False,
        mix: bool = False,
        among: Int64[np.ndarray, " n"] | None = None,
    ) -> tuple[Int64[np.ndarray, "B T"], Int64[np.ndarray, "B T"]]:
        """Place and step (see `data.table`) of each of the `length` + 1 observations of the same windows."""
        keys, table = np.asarray(key, np.int64), self.index.table
        place, first = table.places(keys[:, 0]), keys[:, 1]
        if np.any((first < 0) | (first >= table.length.values[place])):
            raise StoreError("a window that begins outside its episode", "0 <= first step < length", "see `.episodes`")
        if not cross:
            return table.inside(place, first, length + 1)
        ring = None if among is None else table.places(among)
        return table.across(place, first, length + 1, ring, None if mix else self.labels())

    def labels(self) -> Int64[np.ndarray, " N"] | None:
        """The world of each episode, in the order in which they began; None unless the store is of a mixture."""
        return self._labels(self.index.table, self.arrays) if self.spec.worlds and ENV_ID in self.extras else None

    def split(self, fraction: float, seed: int = 0) -> Split:
        """Hold out about that fraction of the episodes. A growing store never moves an episode to the other side."""
        return split(self.index.table.number.values, fraction, seed)

    def snapshot(self) -> dict[str, Any]:
        """A cursor: how much the store holds now. The episodes themselves are on disk already."""
        self.flush()
        return self.index.snapshot()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Cut back to a cursor; what came later vanishes. ResumeError if this store never stood there."""
        self._demand_writer()
        self.index.restore(state, self.arrays.available)

    def clear(self) -> None:
        """Make it empty."""
        self._demand_writer()
        self.index.clear()

    def refresh(self) -> None:
        """See what a writer in another process did since."""
        self.index.refresh(self.arrays.available)

    @property
    def damage(self) -> list[Damage]:
        """What was found wrong on opening, without reading the data."""
        return list(self.index.damage)

    def verify(self) -> list[Damage]:
        """Every block whose line or data is not what was written; reads the whole store."""
        found = list(self.index.damage)
        for place, line in self.index.counted():
            if bad := self.arrays.differing(line):
                episodes = tuple(line.pieces.number.tolist())
                found.append(Damage(place, episodes, f"checksum of {', '.join(bad)} differs"))
        return sorted(found)

    def flush(self, *, sync: bool = False) -> None:
        """All that counts is in the hands of the operating system; with `sync`, on the disk."""
        if sync and self.lock:
            self.arrays.sync()
            self.index.journal.sync()

    def close(self) -> None:
        self.flush(sync=True)
        self.arrays.close(trim=self.index.rows if self.lock else None)
        self.index.journal.close()
        if self.lock is not None:
            self.lock.release()

    def _demand_writer(self) -> None:
        if self.lock is None:
            raise StoreError(f"{self.folder} is open for reading", "one open for writing", "open(folder, write=True)")

    def _write(self, sheets: Sequence[Sheet]) -> None:
        row, lines = self.index.rows, list[Line]()
        try:
            for sheet in sheets:
                sums, packed = self.arrays.write(row, sheet)
                lines.append(Line(row, sheet.lane, sheet.table, sheet.source, sums, packed))
                row += lines[-1].rows
            self.index.append(lines)
        except OSError as full:
            self.arrays.rewind()
            raise StoreError(
                f"{self.folder} can not grow: {full.strerror}",
                f"room for {sum(int(sheet.table.length.sum()) for sheet in sheets)} more steps",
                f"make room and go on; the {self.steps} steps that it holds are whole",
            ) from full
