from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder
from worldmodels.data.sampler import Prioritised, Uniform
from worldmodels.data.store import EpisodeStore
from worldmodels.data.uninformed import Random
from worldmodels.env.dummy import Dummy

LENGTH = 4


def store_of(folder: Path, steps: int) -> EpisodeStore:
    env = Dummy("dot", size=5, zoom=0).make(3)
    store = EpisodeStore.create(folder, env.spec)
    Recorder(Driver(env, Random(env.spec), Rng(0, "record"), piece=3), store).record(steps=steps)
    return store


def expected(store: EpisodeStore) -> set[tuple[int, int]]:
    table = store.index.table
    lengths = zip(table.number.values.tolist(), table.length.values.tolist(), strict=True)
    return {(number, k * LENGTH) for number, length in lengths for k in range(length // LENGTH)}


def test_every_whole_window_is_served_once_before_anything_is_drawn(tmp_path: Path) -> None:
    store, rng = store_of(tmp_path / "store", 90), Rng(1)
    sampler, wanted = Uniform(LENGTH, 7, online=True), expected(store)
    served = [tuple(key) for _ in range(-(-len(wanted) // 7)) for key in sampler.keys(store, rng).tolist()]
    assert set(served[: len(wanted)]) == wanted
    place, start, length = (column.values for column in store.index.table.arrived[:3])
    number = store.index.table.number.values[place]
    ends = []
    for episode, first in served[: len(wanted)]:
        last = first + LENGTH - 1
        (piece,) = np.flatnonzero((number == episode) & (start <= last) & (last < start + length))
        ends.append((int(piece), last))
    assert ends == sorted(ends), "in the order in which their last steps arrived"
    assert len({piece for piece, _ in ends}) > 10
    drawn = np.concatenate([sampler.keys(store, rng) for _ in range(20)])
    assert (drawn[:, 1] % LENGTH != 0).any()
    store.close()


def test_windows_that_wait_are_in_the_snapshot(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", 90)
    one, other = (Uniform(LENGTH, 5, online=True) for _ in range(2))
    one.keys(store, Rng(1))
    state = one.snapshot()
    assert all(isinstance(value, int | torch.Tensor) for value in state.values())
    other.restore(state)
    np.testing.assert_array_equal(one.keys(store, Rng(2)), other.keys(store, Rng(2)))
    store.close()


def test_what_draws_by_priority_alone_has_no_queue() -> None:
    with pytest.raises(ConfigError, match="online=true with Prioritised"):
        Prioritised(LENGTH, 5, online=True)
