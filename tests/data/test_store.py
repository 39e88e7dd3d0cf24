import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldmodels.core.errors import LockError, ResumeError, SpecError, StoreError
from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data import column
from worldmodels.data.journal import Chunks, Line, decode, encode, placed
from worldmodels.data.store import EpisodeStore
from worldmodels.data.table import Pieces

FORK = get_context("fork")
SPEC = EnvSpec("toy", {"clock": ArraySpec((1,), "int64"), "image": ArraySpec((4, 4, 3), "uint8", "image")}, 5)
EXTRAS = {"logp": ArraySpec((), "float32")}


def piece(number: int, start: int, steps: int, *, ended: bool = False, **changes) -> Episode:
    """Every number tells its episode and step: clock = 1000 number + t, reward[t] = clock on arrival."""
    clock = 1000 * number + np.arange(start, start + steps + 1)
    fields = {
        "obs": {
            "clock": clock[:, None],
            "image": np.full((steps + 1, 4, 4, 3), clock[:, None, None, None] % 251, "u1"),
        },
        "action": clock[:-1] % 5,
        "reward": clock[1:].astype(np.float32),
        "terminated": ended,
        "truncated": False,
        "extras": {"logp": -clock[:-1].astype(np.float32)},
    }
    return Episode(**{**fields, **changes}, source={"seed": number}, number=number, start=start)


def filled(folder: Path, compress: Sequence[str] = ()) -> EpisodeStore:
    """Episode 0 has 20 steps in three pieces, 1 has 5, 2 has 9 and runs on; their pieces interleave."""
    store = EpisodeStore.create(folder, SPEC, extras=EXTRAS, compress=compress)
    store.extend([piece(0, 0, 7), piece(1, 0, 3)])
    store.extend([piece(1, 3, 2, ended=True), piece(0, 7, 7)])
    store.extend([piece(2, 0, 9), piece(0, 14, 6, ended=True)])
    return store


@pytest.fixture(params=[(), ("image",)], ids=["raw", "packed"])
def store(tmp_path, request):
    with_data = filled(tmp_path / "s", request.param)
    yield with_data
    if with_data.lock.held:
        with_data.close()


def same(left: Episode, right: Episode) -> None:
    for name in right.obs:
        np.testing.assert_array_equal(left.obs[name], right.obs[name])
    np.testing.assert_array_equal(left.action, right.action)
    np.testing.assert_array_equal(left.reward, right.reward)
    np.testing.assert_array_equal(left.extras["logp"], right.extras["logp"])
    assert (left.terminated, left.truncated, left.number) == (right.terminated, right.truncated, right.number)
    assert left.source == right.source


def test_an_episode_comes_back_as_it_was_lived_however_it_was_cut(store):
    same(store[0], piece(0, 0, 20, ended=True))
    same(store[1], piece(1, 0, 5, ended=True))
    same(store[2], piece(2, 0, 9))
    store.close()
    same(EpisodeStore.open(store.folder)[0], piece(0, 0, 20, ended=True))


def test_the_table_of_episodes_adds_up(store):
    episodes = store.episodes
    assert episodes.number.tolist() == [0, 1, 2]
    assert episodes.length.tolist() == [20, 5, 9]
    assert episodes.ended.tolist() == [True, True, False]
    assert episodes.return_.tolist() == [sum(range(1, 21)), sum(range(1001, 1006)), sum(range(2001, 2010))]
    assert store.steps == 34
    assert store.next_number == 3


def test_a_window_inside_an_episode_is_padded_after_its_end(store):
    batch = store.windows(np.array([[0, 5], [1, 2]]), 8)
    assert batch.obs["clock"][0, :, 0].tolist() == list(range(5, 14))
    assert batch.reward[0].tolist() == list(range(6, 14))
    assert batch.mask.all(1).tolist() == [True, False]
    assert batch.obs["clock"][1, :, 0].tolist() == [1002, 1003, 1004, 1005, 1005, 1005, 1005, 1005, 1005]
    assert batch.mask[1].tolist() == [True] * 3 + [False] * 5
    assert batch.terminated[1].tolist() == [False, False, True] + [False] * 5
    for array in (batch.action, batch.reward, batch.extras["logp"]):
        assert not array[1, 3:].any()
    assert not batch.first.any()
    assert store.windows(np.array([[1, 0]]), 3).first[0].tolist() == [True, False, False, False]


def test_a_crossing_window_is_the_concatenation_of_rows(store):
    batch = store.windows(np.array([[0, 18]]), 10, cross=True)
    assert batch.obs["clock"][0, :, 0].tolist() == [18, 19, 20, 1000, 1001, 1002, 1003, 1004, 1005, 2000, 2001]
    assert batch.first[0].tolist() == [t in (3, 9) for t in range(11)]
    assert batch.mask[0].tolist() == [t not in (2, 8) for t in range(10)]
    assert batch.terminated[0].tolist() == [t in (1, 7) for t in range(10)]
    assert batch.reward[0].tolist() == [19, 20, 0, 1001, 1002, 1003, 1004, 1005, 0, 2001]


def test_a_crossing_window_keeps_to_the_given_episodes_and_goes_round(store):
    batch = store.windows(np.array([[2, 8]]), 4, cross=True, among=np.array([1, 2]))
    assert batch.obs["clock"][0, :, 0].tolist() == [2008, 2009, 1000, 1001, 1002]
    with pytest.raises(StoreError, match="not among"):
        store.windows(np.array([[0, 0]]), 4, cross=True, among=np.array([1, 2]))


def test_every_window_equals_a_slice_of_the_joined_episode(store):
    for number, length in ((0, 20), (1, 5), (2, 9)):
        for first in range(length):
            batch, whole = store.windows(np.array([[number, first]]), 4), store[number]
            steps = slice(first, first + 4)
            np.testing.assert_array_equal(batch.action[batch.mask].numpy(), whole.action[steps])
            np.testing.assert_array_equal(
                batch.obs["image"][0, : min(5, length - first + 1)].numpy(), whole.obs["image"][first : first + 5]
            )


@pytest.mark.parametrize("key", [[0, 20], [0, -1], [7, 0]])
def test_a_window_that_begins_nowhere_is_refused(store, key):
    with pytest.raises(StoreError):
        store.windows(np.array([key]), 2)


def test_pieces_that_do_not_continue_their_episode_are_refused_and_nothing_is_kept(store):
    for wrong in (piece(2, 10, 3), piece(0, 20, 3), piece(5, 4, 3)):
        with pytest.raises(StoreError, match="a piece of episode"):
            store.extend([piece(3, 0, 4), wrong])
    assert len(store) == 3
    assert not store.verify()


def test_pieces_of_other_shapes_are_refused_and_the_difference_is_named(store):
    with pytest.raises(SpecError, match=r"action: .*int64.*float64"):
        store.extend([piece(3, 0, 4, action=np.zeros(4))])
    with pytest.raises(SpecError, match=r"extras.logp.*absent"):
        store.extend([piece(3, 0, 4, extras={})])
    with pytest.raises(SpecError, match="without steps"):
        store.extend([piece(3, 0, 0)])


def test_a_store_of_another_world_is_refused_and_the_differences_are_named(store):
    store.close()
    other = EnvSpec("other", {"clock": ArraySpec((2,), "int64")}, 3)
    with pytest.raises(SpecError, match=r"obs\['clock'\].*obs\['image'\].*3 choices"):
        EpisodeStore.open(store.folder, spec=other, write=True)
    EpisodeStore.open(store.folder, write=True).close()  # the lock was given back


def test_restore_cuts_back_and_what_comes_after_replaces_what_was(store):
    cursor = store.snapshot()
    store.extend([piece(2, 9, 4, ended=True), piece(3, 0, 30)])
    store.restore(cursor)
    assert (len(store), store.steps, store[2].ended) == (3, 34, False)
    store.extend([piece(2, 9, 1), piece(4, 0, 2, ended=True)])
    same(store[2], piece(2, 0, 10))
    store.close()
    again = EpisodeStore.open(store.folder)
    same(again[4], piece(4, 0, 2, ended=True))
    assert not again.verify()


def test_a_store_that_never_stood_where_the_checkpoint_says_is_refused(store, tmp_path):
    cursor = store.snapshot()
    with EpisodeStore.create(tmp_path / "t", SPEC, extras=EXTRAS) as other:
        with pytest.raises(ResumeError, match="different runs"):
            other.restore(cursor)
        for number in range(9):
            other.extend([piece(number, 0, 3)])
        with pytest.raises(ResumeError, match="different runs"):
            other.restore(cursor)
        assert len(other) == 9


def test_a_reader_follows_the_writer_forwards_and_back(store):
    reader = EpisodeStore.open(store.folder)
    cursor = store.snapshot()
    store.extend([piece(3, 0, 5), piece(4, 0, 5)])
    assert len(reader) == 3
    reader.refresh()
    same(reader[4], piece(4, 0, 5))
    store.restore(cursor)
    store.extend([piece(number, 0, 6) for number in range(10, 14)])
    reader.refresh()
    assert reader.episodes.number.tolist() == [0, 1, 2, 10, 11, 12, 13]
    same(reader[13], piece(13, 0, 6))


def fork(target: Callable[[], object]) -> Any:
    worker = FORK.Process(target=target)
    worker.start()
    return worker


def refusal(folder: Path) -> str:
    try:
        EpisodeStore.open(folder, write=True)
    except LockError as error:
        return str(error)
    return "none"


def test_a_second_writer_learns_who_the_first_one_is(store):
    with pytest.raises(LockError, match="this very process"):
        EpisodeStore.open(store.folder, write=True)
    told = FORK.SimpleQueue()
    worker = fork(lambda: told.put(refusal(store.folder)))
    assert f"process {os.getpid()} on" in told.get()
    worker.join()
    with pytest.raises(StoreError, match="open for reading"):
        EpisodeStore.open(store.folder).extend([piece(3, 0, 1)])


def test_the_split_is_by_episode_and_never_changes_sides(store):
    store.extend([piece(number, 0, 1, ended=True) for number in range(3, 100)])
    before = store.split(0.2, seed=1)
    store.extend([piece(number, 0, 1, ended=True) for number in range(100, 500)])
    after = store.split(0.2, seed=1)
    assert set(before.held) == {n for n in after.held if n < 100}
    assert not set(after.held) & set(after.train)
    assert len(after.held) + len(after.train) == 500
    assert 70 < len(after.held) < 130
    assert set(after.held) != set(store.split(0.2, seed=2).held)


@pytest.mark.parametrize("room", [0, 1, 100, 700])
def test_a_full_disk_while_writing_loses_only_what_was_being_written(store, monkeypatch, room):
    left = [room]
    real = {"pwritev": os.pwritev, "pwrite": os.pwrite}

    def scarce(name: str):
        def write(file, data, offset):
            parts = data if name == "pwritev" else [data]
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            parts = [bytes(b"".join(parts))[: left[0]]]
            left[0] -= len(parts[0])
            return real[name](file, parts if name == "pwritev" else parts[0], offset)

        return write

    for name in real:
        monkeypatch.setattr(os, name, scarce(name))
    with pytest.raises(StoreError, match=r"No space left.*\n.*\n.*34 steps"):
        store.extend([piece(2, 9, 4), piece(3, 0, 5)])
    monkeypatch.undo()
    assert len(store) == 3
    assert not EpisodeStore.open(store.folder).verify()
    store.extend([piece(2, 9, 4)])
    same(store[2], piece(2, 0, 13))


def fill(store: EpisodeStore) -> None:
    for number in range(1000):
        store.extend([piece(number, 0, 100, ended=True)])


def test_a_full_file_system_is_an_error_and_not_a_bus_error(tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = EpisodeStore.create(small / "s", SPEC, extras=EXTRAS)
        with pytest.raises(StoreError, match="can not grow"):
            fill(store)
        kept = len(store)
        assert kept > 50
        same(store[kept - 1], piece(kept - 1, 0, 100, ended=True))
        assert not EpisodeStore.open(small / "s").verify()
        store.windows(np.stack([np.arange(kept), np.arange(kept)], 1) % 50, 60)
        store.close()
        del store
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_damaged_data_is_named_and_the_rest_stays_readable(store):
    store.close()
    packed = store.layout.packed
    path = store.folder / ("obs.image.z" if packed else "obs.image.raw")
    data = bytearray(path.read_bytes())
    data[store.arrays.packed["obs.image"].offset.values[1] + 9 if packed else 10 * 48 + 5] ^= (
        1  # row 10: episode 1, step 2
    )
    path.write_bytes(data)
    damaged = EpisodeStore.open(store.folder)
    assert [d.episodes for d in damaged.verify()] == [(1,)]
    assert "obs.image" in damaged.verify()[0].reason
    same(damaged[0], piece(0, 0, 20, ended=True))


def test_a_damaged_line_hides_the_rest_of_its_episode_only(store):
    store.close()
    path = store.folder / "index.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"row":', b'"row":1')
    path.write_bytes(b"".join(lines))
    damaged = EpisodeStore.open(store.folder)
    assert [d.line for d in damaged.verify()] == [3, 5]
    same(damaged[0], piece(0, 0, 7))
    same(damaged[1], piece(1, 0, 5, ended=True))
    same(damaged[2], piece(2, 0, 9))


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_an_unfinished_last_line_is_as_if_it_was_never_written(store, cut):
    store.close()
    path = store.folder / "index.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(EpisodeStore.open(store.folder)[0]) == 14
    with EpisodeStore.open(store.folder, write=True) as again:
        again.extend([piece(0, 14, 1, ended=True)])
    whole = EpisodeStore.open(store.folder)
    same(whole[0], piece(0, 0, 15, ended=True))
    assert not whole.verify()


def test_missing_data_never_keeps_a_store_from_opening(store):
    store.close()
    os.truncate(store.folder / "reward.raw", 4 * 18)  # the first four pieces, and a bit of the next
    short = EpisodeStore.open(store.folder)
    assert {d.reason for d in short.verify()} == {"its data is missing"}
    same(short[1], piece(1, 0, 5, ended=True))
    (store.folder / "action.raw").unlink()
    with pytest.raises(StoreError, match=r"action\.raw"):
        EpisodeStore.open(store.folder)


def test_a_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no episode store"):
        EpisodeStore.open(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        EpisodeStore.open(tmp_path)


def write_until_killed(folder: Path, told: int) -> None:
    """Tell the pipe after each call how many pieces count."""
    store = EpisodeStore.open(folder, write=True)
    first = store.next_number
    while True:
        for start in range(0, 90, 30):
            store.extend([piece(first + lane, start, 30, ended=start == 60) for lane in range(3)])
            os.write(told, b"%d\n" % len(store.index.journal))
        first += 3


def test_a_writer_killed_at_any_moment_loses_no_piece_that_counted(tmp_path):
    EpisodeStore.create(tmp_path / "s", SPEC, extras=EXTRAS).close()
    rng = np.random.default_rng()
    for _ in range(8):
        listen, tell = os.pipe()
        writer = fork(lambda tell=tell: write_until_killed(tmp_path / "s", tell))
        said = os.read(listen, 1 << 20)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        os.close(tell)
        said += os.read(listen, 1 << 20)
        os.close(listen)
        with EpisodeStore.open(tmp_path / "s", write=True) as store:
            assert store.snapshot()["lines"] >= int(said.split()[-1])
            assert not store.verify()
            for number in store.episodes.number[-4:].tolist():
                same(store[number], piece(number, 0, len(store[number]), ended=store[number].ended))


def test_the_file_grows_under_a_reader_that_has_it_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(column, "_RESERVE", 64)
    store = EpisodeStore.create(tmp_path / "s", SPEC, extras=EXTRAS)
    reader = EpisodeStore.open(tmp_path / "s")
    for number in range(40):
        store.extend([piece(number, 0, 9, ended=True)])
        reader.refresh()
        same(reader[number], piece(number, 0, 9, ended=True))
    store.close()
    reader.refresh()
    same(reader[39], piece(39, 0, 9, ended=True))


def test_a_line_of_the_index_is_json_that_a_person_can_read(tmp_path):
    filled(tmp_path / "s").close()
    lines = (tmp_path / "s" / "index.jsonl").read_text().splitlines()
    told = [json.loads(line.rpartition(" ")[0]) for line in lines]
    assert [line["row"] for line in told] == [0, 8, 12, 15, 23, 33]
    assert {key: told[2][key] for key in ("number", "start", "length", "return", "end", "source")} == {
        "number": [1],
        "start": {"0": 3},
        "length": [2],
        "return": [1001.0 + 1002 + 1003 + 1004 + 1005],
        "end": "t",
        "source": {"seed": 1},
    }


@pytest.mark.parametrize("lane", [None, 6])
def test_a_line_comes_back_from_its_text_as_it_was(lane):
    length = np.array([4, 2, 6, 1, 5])
    terminated, truncated = np.array([True, False, True, True, False]), np.array([False, False, True, False, True])
    row, last = placed(length, terminated | truncated, lane)
    assert row.tolist() == ([0, 4, 7, 14, 15] if lane else [0, 5, 8, 15, 17])
    assert last.tolist() == ([21, 6, 22, 23, 24] if lane else [4, 7, 14, 16, 22])
    number, returns = np.arange(5) + 7, np.array([0.1, -1e-30, 3.0, 2.5, 1e20])
    pieces = Pieces(number, np.array([0, 9, 0, 0, 1 << 40]), length, row, last, terminated, truncated, returns)
    packed = {} if lane else {"obs.x": Chunks(5, [1, 2], [3, 4])}
    line = Line(1 << 40, lane, pieces, {"seed": 1}, {"obs.x": 1 << 31}, packed)
    back = decode(encode(line))
    assert back is not None
    assert (back.row, back.rows) == (1 << 40, 25 if lane else 23)
    assert {k: v for k, v in vars(back).items() if k != "pieces"} == {
        k: v for k, v in vars(line).items() if k != "pieces"
    }
    for name, values in vars(pieces).items():
        np.testing.assert_array_equal(getattr(back.pieces, name), values)
    assert decode(encode(line).replace(b'"end":"t', b'"end":"c')) is None
