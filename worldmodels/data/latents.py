"""What a learner believed at each step of a store: a table beside it that is overwritten while it learns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64

from worldmodels.core.errors import ResumeError, StoreError
from worldmodels.core.files import write_text
from worldmodels.core.spec import ArraySpec
from worldmodels.data.block import Block
from worldmodels.data.column import Column, Rows
from worldmodels.data.growing import Growing

TOLD = "belief."  # begins the names of extras that go here, and not into the store
KNOWN = "belief.known"  # the one that says whether a step has a belief


def told(extras: Mapping[str, ArraySpec]) -> dict[str, ArraySpec]:
    """The arrays of a belief, by their own names, among the extras of a policy."""
    return {name.removeprefix(TOLD): x for name, x in extras.items() if name.startswith(TOLD) and name != KNOWN}


def lean(block: Block) -> Block:
    """The same block without beliefs, as the store takes it. It shares all arrays."""
    without = copy(block)
    without.columns = {name: spec for name, spec in block.columns.items() if not name.startswith(f"extras.{TOLD}")}
    return without


class Latents:
    """Rows of the same numbers as the store's, on disk, each in one of two places.

    The first time that a row changes after a snapshot it goes to its other place; so what the snapshot saw stays as it
    was, and a restore only has to look there again. That costs no reading and no writing, but up to twice the disk, and
    two bits a row in a snapshot. Only the newest snapshot can be restored. A process killed at any time leaves what
    that one saw; of a power cut the same holds as for the store, but there are no checksums.
    """

    def __init__(self, folder: Path, arrays: Mapping[str, ArraySpec]) -> None:
        self.folder, self.arrays = folder, dict(arrays)
        folder.mkdir(parents=True, exist_ok=True)
        self._columns = [
            {name: Column(folder / f"{name}.{side}.raw", spec, write=True) for name, spec in arrays.items()}
            for side in (0, 1)
        ]
        self._mark = folder / "latents.json"
        self._forget()

    def _forget(self) -> None:
        self._known, self._side, self._fresh = (Growing("bool") for _ in range(3))
        self._number, self._marked = 0, -1  # of the last snapshot, and of the one that the disk can go back to

    def __len__(self) -> int:
        """Rows that may be known."""
        return self._known.size

    def append(self, block: Block, row: int) -> None:
        """Beliefs that were told while a block was lived, which the store has put at `row`."""
        told = np.flatnonzero(np.concatenate(block.parts(f"extras.{KNOWN}")))
        values = {name: np.concatenate(block.parts(f"extras.{TOLD}{name}"))[told] for name in self.arrays}
        self.put(row + told, values)

    def put(self, rows: Int64[np.ndarray, " n"], values: Mapping[str, np.ndarray]) -> None:
        """Beliefs of rows, in place of older ones; of a row named twice, the last. StoreError on a full disk."""
        if not len(rows):
            return
        rows, last = np.unique(rows[::-1], return_index=True)
        chosen = len(values[next(iter(self.arrays))]) - 1 - last
        self._reach(int(rows[-1]) + 1)
        self._demand_mark()
        known, side, fresh = self._known.values, self._side.values, self._fresh.values
        old = rows[known[rows] & ~fresh[rows]]
        side[old] = ~side[old]
        try:
            for at, columns in enumerate(self._columns):
                self._write(columns, rows, chosen, side[rows] == bool(at), values)
        except OSError as full:
            raise StoreError(
                f"{self.folder} can not grow: {full.strerror}",
                f"room for what is told of {len(rows)} more steps",
                "make room and go on from the last checkpoint; or begin anew without replay_context, or refresh",
            ) from full
        known[rows], fresh[rows] = True, True

    def get(self, rows: Int64[np.ndarray, " n"]) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, " n"]]:
        """Beliefs of rows, and which are known; zeros where they are not."""
        known = np.zeros(len(rows), bool)
        inside = rows < len(self)
        known[inside] = self._known.values[rows[inside]]
        values = {name: spec.zeros(len(rows)) for name, spec in self.arrays.items()}
        side = np.zeros(len(rows), bool)
        side[known] = self._side.values[rows[known]]
        for at, columns in enumerate(self._columns):
            here = np.flatnonzero(known & (side == bool(at)))
            if len(here):
                index = Rows(rows[here])
                for name, column in columns.items():
                    values[name][here] = column.take(index)
        return values, known

    def clear(self) -> None:
        """Know nothing."""
        self._forget()
        self._mark.unlink(missing_ok=True)

    def snapshot(self) -> dict[str, Any]:
        """What is known and where; the beliefs themselves are on disk."""
        if self._fresh.values.any():
            self._number += 1
            self._fresh.values[:] = False
        return {
            "number": self._number,
            "rows": len(self),
            "known": torch.from_numpy(np.packbits(self._known.values)),
            "side": torch.from_numpy(np.packbits(self._side.values)),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be as at a snapshot. ResumeError if the disk has gone on from a later one, or lacks what it saw."""
        rows = int(state["rows"])
        self._forget()
        self._marked = int(json.loads(self._mark.read_text())["since"]) if self._mark.exists() else -1
        self._number = int(state["number"])
        if self._marked > self._number:
            self._refuse(f"{self.folder} has gone on from a later checkpoint")
        self._reach(rows)
        for growing, name in ((self._known, "known"), (self._side, "side")):
            growing.values[:] = np.unpackbits(state[name].numpy(), count=rows).astype(bool)
        for at, columns in enumerate(self._columns):
            needed = np.flatnonzero(self._known.values & (self._side.values == bool(at)))
            if len(needed) and any(column.available <= needed[-1] for column in columns.values()):
                self._refuse(f"{self.folder} lacks beliefs that the checkpoint has seen")

    def close(self) -> None:
        for columns in self._columns:
            for column in columns.values():
                column.sync()
                column.close()

    def _refuse(self, found: str) -> None:
        raise ResumeError(
            found,
            "the beliefs that belong to the checkpoint",
            "restore the run's last checkpoint and its folder together, or start over with force=true",
        )

    def _reach(self, rows: int) -> None:
        missing = np.zeros(max(0, rows - len(self)), bool)
        for growing in (self._known, self._side, self._fresh):
            growing.append(missing)

    def _demand_mark(self) -> None:
        """Say on disk, before the first change, that no snapshot before the newest can be restored any more."""
        if self._marked != self._number:
            write_text(self._mark, json.dumps({"since": self._number}))
            self._marked = self._number

    @staticmethod
    def _write(
        columns: Mapping[str, Column],
        rows: Int64[np.ndarray, " n"],
        chosen: Int64[np.ndarray, " n"],
        here: Bool[np.ndarray, " n"],
        values: Mapping[str, np.ndarray],
    ) -> None:
        """The rows that are here, one write for each run of consecutive ones with consecutive values."""
        if not here.any():
            return
        rows, chosen = rows[here], chosen[here]
        at = np.concatenate([[0], np.flatnonzero((np.diff(rows) != 1) | (np.diff(chosen) != 1)) + 1])
        runs = list(zip(rows[at].tolist(), chosen[at].tolist(), np.diff(at, append=len(rows)).tolist(), strict=True))
        for name, column in columns.items():
            array = values[name]
            for row, first, count in runs:
                column.write(row, [array[first : first + count].astype(column.dtype, copy=False)])
