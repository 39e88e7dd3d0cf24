"""Several threads read as one would."""

from __future__ import annotations

import threading
from multiprocessing import get_context

import numpy as np
import pytest

from worldmodels.core.errors import StoreError
from worldmodels.core.spec import ArraySpec
from worldmodels.data import column
from worldmodels.data.column import Column, Rows
from worldmodels.data.readers import together


def test_jobs_are_done_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20)
    together([both.wait, both.wait])  # each waits for the other


def test_an_error_comes_up_when_all_jobs_have_ended() -> None:
    done = []

    def fail() -> None:
        raise StoreError("one", "none", "nothing")

    with pytest.raises(StoreError, match="one"):
        together([fail, lambda: done.append(1), lambda: done.append(2)])
    assert sorted(done) == [1, 2]


def test_a_forked_process_reads_although_it_inherits_no_threads() -> None:
    together([lambda: None] * 3)
    child = get_context("fork").Process(target=together, args=([lambda: None] * 3,))
    child.start()
    child.join(20)
    assert child.exitcode == 0


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_windows_are_the_same_whoever_reads_them(tmp_path, monkeypatch, threads: int) -> None:
    monkeypatch.setattr(column, "_SHARED", 0)
    monkeypatch.setattr(column, "cores", lambda: threads)
    rows = np.random.default_rng(0).integers(0, 256, (500, 16, 16, 3), np.uint8)
    file = Column(tmp_path / "x.raw", ArraySpec((16, 16, 3), "uint8"), write=True)
    file.write(0, file.pack([rows]))
    index = np.array([[7], [430], [100], [0]]) + np.arange(60)
    np.testing.assert_array_equal(file.take(Rows(index)), rows[index])
    file.trim(400)
    with pytest.raises(StoreError, match="ends at byte"):
        file.take(Rows(index))
