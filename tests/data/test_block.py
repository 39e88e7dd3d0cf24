"""Blocks: what N worlds lived through, laid out at once and equal to what is told step by step."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodels.core.experience import join
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.checksum import checksum
from worldmodels.data.driver import Driver, usual_piece
from worldmodels.data.growing import Growing
from worldmodels.data.store import EpisodeStore
from worldmodels.env.minatar import MinAtar
from worldmodels.policy.scripted import Random


def breakout(piece: int) -> Driver:
    env = MinAtar(game="breakout").make(5)
    return Driver(env, Random(env.spec), Rng(3), piece=piece)


def test_a_table_of_pieces_says_what_the_pieces_themselves_say():
    driver = breakout(40)
    blocks = [block for _ in range(120) for block in driver.step()]
    assert len(blocks) == 3
    for block in blocks:
        table, pieces = block.table, block.pieces()
        assert table.number.tolist() == [piece.number for piece in pieces]
        assert table.start.tolist() == [piece.start for piece in pieces]
        assert table.length.tolist() == [len(piece) for piece in pieces]
        assert table.ended.tolist() == [piece.ended for piece in pieces]
        unused = int((block.after.steps == 0).sum())  # what a lane sees first after an end belongs to the next block
        assert len(np.concatenate(block.parts("reward"))) == sum(len(piece) + 1 for piece in pieces) + unused
        rows = np.concatenate(block.parts("obs.grid"))
        for piece, row, last in zip(pieces, table.row, table.last, strict=True):
            np.testing.assert_array_equal(rows[[*range(row, row + len(piece)), last]], piece.obs["grid"])
            assert not np.concatenate(block.parts("action"))[last]
        for name in ("obs.grid", "reward"):
            np.testing.assert_array_equal(np.concatenate(block.parts(name)), np.concatenate(block.chunks(name)))
    assert sum(len(block.finished) for block in blocks) == driver.episodes > 20


def test_returns_and_lengths_run_on_over_blocks_of_any_size():
    long, short = breakout(90), breakout(7)
    for _ in range(90):
        long.step()
        short.step()
    assert long.drain_lanes() == short.drain_lanes()
    for mine, its in zip(vars(long.running()).values(), vars(short.running()).values(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_block_keeps_its_arrays_until_it_is_given_back():
    driver = breakout(4)
    kept = [block for _ in range(8) for block in driver.step()]
    before = [block.arrays["obs.grid"].copy() for block in kept]
    more = [block for _ in range(40) for block in driver.step()]
    for block, frames in zip(kept, before, strict=True):
        np.testing.assert_array_equal(block.arrays["obs.grid"], frames)
    driver.reuse(more[0])
    assert [block for _ in range(8) for block in driver.step()][1].buffer is more[0].buffer


@pytest.mark.parametrize("compress", [(), ("grid",)])
def test_a_block_in_a_store_equals_its_pieces_in_a_store(tmp_path, compress):
    driver = breakout(16)
    with (
        EpisodeStore.create(tmp_path / "a", driver.spec, compress=compress) as at_once,
        EpisodeStore.create(tmp_path / "b", driver.spec, compress=compress) as one_by_one,
    ):
        pieces = []
        for step in range(100):
            for block in [*driver.step(), *(driver.flush() if step % 23 == 0 else [])]:
                at_once.append(block)
                one_by_one.extend(block.pieces())
                pieces += block.pieces()
                driver.reuse(block)
        assert at_once.episodes.number.tolist() == one_by_one.episodes.number.tolist()
        np.testing.assert_array_equal(at_once.episodes.return_, one_by_one.episodes.return_)
        for number in at_once.episodes.number.tolist():
            whole = join([piece for piece in pieces if piece.number == number])
            for store in (at_once, one_by_one):
                np.testing.assert_array_equal(store[number].obs["grid"], whole.obs["grid"])
                np.testing.assert_array_equal(store[number].action, whole.action)
        key = np.stack([at_once.episodes.number, np.zeros(len(at_once), np.int64)], 1)
        for cross in (False, True):
            one, two = (store.windows(key, 30, cross=cross) for store in (at_once, one_by_one))
            assert (one.obs["grid"] == two.obs["grid"]).all()
            assert (one.mask == two.mask).all()
            assert (one.reward == two.reward).all()
        assert not at_once.verify()
        assert len(at_once.index.journal) < 15


def test_a_checksum_sees_changed_moved_and_missing_data():
    data = np.random.default_rng(0).integers(0, 256, 4096 * 5 + 77, np.uint8)
    good = checksum([data])
    for at in (0, 9000, len(data) - 1):
        other = data.copy()
        other[at] ^= 1
        assert checksum([other]) != good
    swapped = data.copy()
    swapped[:8], swapped[8:16] = data[8:16], data[:8]
    lost = data.copy()
    lost[4096:8192] = 0
    pages = np.concatenate([data[4096:8192], data[:4096], data[8192:]])
    assert len({good, checksum([swapped]), checksum([lost]), checksum([pages])}) == 4
    assert checksum([data.copy()]) == good


def test_weaving_keeps_an_order():
    rng, grown, plain = np.random.default_rng(0), Growing("int64"), np.zeros(0, np.int64)
    for _ in range(40):
        fresh = np.sort(rng.integers(1000, size=rng.integers(0, 12)))
        grown.weave(np.searchsorted(grown.values, fresh), fresh)
        plain = np.sort(np.concatenate([plain, fresh]))
        np.testing.assert_array_equal(grown.values, plain)


def test_blocks_are_longer_where_steps_are_small():
    small, large = (EnvSpec("x", {"x": ArraySpec((side, side, 3), "uint8")}, 2) for side in (4, 64))
    assert usual_piece(small, 16) == 256
    assert usual_piece(large, 64) == 64
