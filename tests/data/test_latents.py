"""The table of beliefs: against a dict, through snapshots, kills and full disks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldmodels.core.errors import ResumeError, StoreError
from worldmodels.core.spec import ArraySpec
from worldmodels.data import column
from worldmodels.data.latents import Latents

ARRAYS = {"deter": ArraySpec((3,), "float16"), "stoch": ArraySpec((2,), "uint8")}


def beliefs(rows, tag: int) -> dict[str, np.ndarray]:
    rows = np.asarray(rows)
    return {
        "deter": np.stack([rows % 2048, np.full_like(rows, tag), rows * 0], 1).astype(np.float32),
        "stoch": np.stack([rows % 256, np.full_like(rows, tag % 256)], 1),
    }


def read(table: Latents, rows: int) -> dict[int, int]:
    """The tag of every row that is known; each must hold what was written together."""
    values, known = table.get(np.arange(rows))
    found = {}
    for row in np.flatnonzero(known).tolist():
        tag = int(values["deter"][row, 1])
        for name, value in beliefs([row], tag).items():
            assert (values[name][row] == value[0]).all()
        found[row] = tag
    assert not values["deter"][~known].any()
    return found


def test_a_row_holds_what_was_written_last(tmp_path):
    table = Latents(tmp_path, ARRAYS)
    table.put(np.array([4, 2, 4, 7]), beliefs([4, 2, 4, 7], 1))
    twice = {name: np.concatenate([older, beliefs([2], 6)[name]]) for name, older in beliefs([2], 5).items()}
    table.put(np.array([2, 2]), twice)
    assert read(table, 12) == {2: 6, 4: 1, 7: 1}


def test_rows_that_nobody_told_of_are_unknown_even_far_beyond(tmp_path):
    table = Latents(tmp_path, ARRAYS)
    assert read(table, 5) == {}
    table.put(np.array([1]), beliefs([1], 3))
    values, known = table.get(np.array([0, 1, 900]))
    assert known.tolist() == [False, True, False]
    assert not values["stoch"][[0, 2]].any()


STEP = st.tuples(st.just("put"), st.lists(st.integers(0, 11), min_size=1, max_size=6)) | st.tuples(
    st.sampled_from(["snapshot", "kill"]), st.just([])
)


@settings(deadline=None, max_examples=30)
@given(st.lists(STEP, min_size=1, max_size=14))
def test_whatever_happens_a_restore_brings_back_the_newest_snapshot(tmp_path_factory, steps):
    """A process that is killed leaves its writes behind; the next one must not see them."""
    folder = tmp_path_factory.mktemp("latents")
    table, now = Latents(folder, ARRAYS), {}
    state, then = table.snapshot(), {}
    for tag, (what, rows) in enumerate(steps):
        if what == "put":
            table.put(np.array(rows), beliefs(rows, tag))
            now = {**now, **dict.fromkeys(rows, tag)}
        elif what == "snapshot":
            state, then = table.snapshot(), dict(now)
        else:
            table = Latents(folder, ARRAYS)
            table.restore(state)
            now = dict(then)
        assert read(table, 12) == now
    table.close()


def test_a_row_that_changes_twice_after_a_snapshot_leaves_what_that_saw(tmp_path):
    table = Latents(tmp_path, ARRAYS)
    table.put(np.array([1]), beliefs([1], 1))
    state = table.snapshot()
    for tag in (2, 3):
        table.put(np.array([1]), beliefs([1], tag))
    assert read(table, 2) == {1: 3}
    again = Latents(tmp_path, ARRAYS)
    again.restore(state)
    assert read(again, 2) == {1: 1}


def test_a_snapshot_loads_without_pickle_and_takes_two_bits_a_row(tmp_path):
    table = Latents(tmp_path / "table", ARRAYS)
    table.put(np.arange(20_000), beliefs(np.arange(20_000), 1))
    torch.save(table.snapshot(), tmp_path / "snapshot")
    assert (tmp_path / "snapshot").stat().st_size < 20_000 / 4 + 4096
    again = Latents(tmp_path / "table", ARRAYS)
    again.restore(torch.load(tmp_path / "snapshot", weights_only=True))
    assert len(read(again, 20_000)) == 20_000


def test_an_older_snapshot_is_refused_once_it_was_written_over(tmp_path):
    table = Latents(tmp_path, ARRAYS)
    table.put(np.array([1]), beliefs([1], 1))
    old = table.snapshot()
    table.put(np.array([1]), beliefs([1], 2))
    new = table.snapshot()
    Latents(tmp_path, ARRAYS).restore(old)  # nothing was written since the newer one
    table.put(np.array([1]), beliefs([1], 3))
    with pytest.raises(ResumeError, match="gone on from a later checkpoint"):
        Latents(tmp_path, ARRAYS).restore(old)
    again = Latents(tmp_path, ARRAYS)
    again.restore(new)
    assert read(again, 3) == {1: 2}


def test_a_folder_that_was_not_copied_is_told(tmp_path):
    table = Latents(tmp_path / "here", ARRAYS)
    table.put(np.array([1]), beliefs([1], 1))
    with pytest.raises(ResumeError, match="lacks beliefs"):
        Latents(tmp_path / "there", ARRAYS).restore(table.snapshot())


def test_a_full_disk_is_told_and_leaves_what_was_known(tmp_path, monkeypatch):
    table = Latents(tmp_path, ARRAYS)
    table.put(np.array([1]), beliefs([1], 1))
    state = table.snapshot()

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(column.os, "pwritev", full)
        with pytest.raises(StoreError, match="No space left"):
            table.put(np.array([1, 2]), beliefs([1, 2], 2))
    again = Latents(tmp_path, ARRAYS)
    again.restore(state)
    assert read(again, 3) == {1: 1}
