"""Windows that go on from a belief: rows that read on, and beliefs that are kept step by step."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch, Episode
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.consecutive import Consecutive
from worldmodels.data.replay import Replay
from worldmodels.data.sampler import Uniform
from worldmodels.data.segment import Segment
from worldmodels.data.store import EpisodeStore
from worldmodels.data.uninformed import Random
from worldmodels.env.dummy import Dummy

SPEC = EnvSpec("toy", {"clock": ArraySpec((1,), "int64")}, 5)
DOT = Dummy(game="dot", zoom=0, time_limit=7)


def piece(number: int, start: int, steps: int, *, ended: bool = False) -> Episode:
    clock = 1000 * number + np.arange(start, start + steps + 1)
    action, reward = clock[:-1] % 5, clock[1:].astype(np.float32)
    return Episode({"clock": clock[:, None]}, action, reward, ended, False, number=number, start=start)


LENGTH, NEXT = {0: 3, 1: 10, 2: 30, 3: 6}, {0: 2, 2: 1, 1: 3, 3: 0}  # in the order in which they begin


@pytest.fixture
def store(tmp_path):
    """Episodes of 3, 10 and 30 steps, the last one in pieces, and one of 6 that runs on."""
    with EpisodeStore.create(tmp_path / "s", SPEC) as made:
        made.extend([piece(0, 0, 3, ended=True), piece(2, 0, 10), piece(1, 0, 10, ended=True)])
        made.extend([piece(2, 10, 10), piece(3, 0, 6), piece(2, 20, 10, ended=True)])
        yield made


def test_rows_that_read_on_are_not_padded():
    with pytest.raises(ConfigError, match=r"pad=true with rows that read on(.|\n)*data\.sampler\.cross=true"):
        Consecutive(4, 6, pad=True)


@pytest.mark.parametrize("how", [{}, {"cross": True}], ids=str)
def test_a_row_that_reads_on_begins_where_its_last_window_ended(store, how):
    sampler, rng, before = Consecutive(4, 6, reset_interval=40, **how), Rng(0), None
    counts = {"on": 0, "jumps": 0}
    for _ in range(200):
        batch = sampler.sample(store, rng)
        if before is not None:
            for row, known in enumerate(batch.known.tolist()):
                last, number = int(before.obs["clock"][row, -1, 0]), int(batch.key[row, 0])
                counts["on" if known else "jumps"] += 1
                if not known:
                    continue
                over = last % 1000 == LENGTH[last // 1000]
                here = int(batch.obs["clock"][row, 0, 0])
                # From a final observation a row goes on with the first one of the next episode.
                assert here == (1000 * NEXT[last // 1000] if over else last)
                assert bool(batch.first[row, 0]) == (here % 1000 == 0)
                assert not over or how == {"cross": True}
                assert how or int(batch.key[row, 1]) + 4 <= LENGTH[number]
        before = batch
    assert counts["on"] > 300
    if how == {"cross": True}:  # nothing but chance makes a row jump, at every tenth window
        assert counts["jumps"] == pytest.approx(1194 / 10, abs=4 * (1194 * 0.09) ** 0.5)


def test_rows_that_never_jump_read_a_recording_from_end_to_end(store):
    sampler, rng, read = Consecutive(4, 1, cross=True, reset_interval=None), Rng(0), []
    for _ in range(60):
        read += sampler.sample(store, rng).obs["clock"][0, :-1, 0].tolist()
    for one, other in pairwise(read):
        number, step = divmod(one, 1000)
        # A window that stops on a final observation is followed by one that begins with the next first one.
        after = {one + 1} if step < LENGTH[number] - 1 else {one + 1, 1000 * NEXT[number]}
        assert other in (after if step < LENGTH[number] else {1000 * NEXT[number]})


def test_rows_wait_for_nothing_where_an_episode_still_runs(store):
    sampler, rng = Consecutive(2, 1, cross=True, reset_interval=None), Rng(0)
    sampler.sample(store, rng)
    sampler.cursor = np.array([[3, 6]])
    store.extend([piece(3, 6, 4)])
    batch = sampler.sample(store, rng)  # it has gone on meanwhile: so does the row
    assert batch.obs["clock"][0, :, 0].tolist() == [3006, 3007, 3008]
    sampler.cursor = np.array([[3, 10]])
    batch = sampler.sample(store, rng)  # it has not: the row goes on with what follows it
    assert batch.obs["clock"][0, :, 0].tolist() == [0, 1, 2]


def test_rows_leave_what_a_capacity_no_longer_holds(store):
    """Of 49 recorded steps the last 30."""
    sampler, rng = Consecutive(2, 2, cross=True, reset_interval=None, capacity=30), Rng(0)
    sampler.sample(store, rng)
    table = store.index.table
    recorded = table.recorded(table.places([2, 2]), np.array([5, 25]))
    assert (recorded >= 19).tolist() == [False, True]
    sampler.cursor = np.array([[2, 5], [2, 25]])
    batch = sampler.sample(store, rng)
    assert batch.known.tolist() == [False, True]
    assert batch.key[1].tolist() == [2, 25]
    for _ in range(50):
        keys = sampler.sample(store, rng).key.numpy()
        assert (table.recorded(table.places(keys[:, 0]), keys[:, 1]) >= 19).all()


def test_a_restored_sampler_reads_on_at_the_same_places(store):
    one, other = Consecutive(4, 6, cross=True), Consecutive(4, 6, cross=True)
    rng, its = Rng(0), Rng(0)
    for _ in range(5):
        one.sample(store, rng)
    other.restore(one.snapshot())
    its.restore(rng.snapshot())
    for _ in range(20):
        a, b = one.sample(store, rng), other.sample(store, its)
        assert torch.equal(a.key, b.key)
        assert torch.equal(a.known, b.known)


class Teller(Random):
    """Believes the number of the update at which it acts, and in what it saw."""

    def __init__(self, spec, learner):
        super().__init__(spec)
        self.learner = learner
        self.extras = {}

    def telling(self):
        told = Teller(self.spec, self.learner)
        told.extras = {
            "belief.when": ArraySpec((1,), "float16"), "belief.saw": ArraySpec((9,), "uint8"),
            "belief.known": ArraySpec((), "bool"),
        }  # fmt: skip
        return told

    def act(self, obs, first, memory, *, explore, rng):
        action, memory, _ = super().act(obs, first, memory, explore=explore, rng=rng)
        told = {
            "belief.when": np.full((len(first), 1), self.learner.now, np.float16),
            "belief.saw": obs["grid"].reshape(len(first), -1).astype(np.uint8),
            "belief.known": np.ones(len(first), bool),
        }
        return action, memory, {name: told[name] for name in self.extras}


class Remembering:
    """Learns nothing; believes when it was where, which shows what is handed back."""

    def __init__(self, spec):
        self.spec, self.now, self.batch = spec, 0, None

    def policy(self):
        return Teller(self.spec, self)

    def prepare(self, rollout):
        return rollout

    def feedback(self):
        return None

    def see(self, batch: Batch) -> None:
        self.now, self.batch = self.now + 1, batch

    def beliefs(self):
        seen = self.batch.obs["grid"].flatten(2).to(torch.uint8)
        return {"when": torch.full((*seen.shape[:2], 1), float(self.now)), "saw": seen}


def stream(folder: Path, sampler, **options):
    world = Dummy(game="dot", size=3, zoom=0, time_limit=7)
    learner = Remembering(world.spec())
    plan = Replay(sampler, 4, piece=3, warmup=40, steps_per_update=4.0, updates=60, **options)
    return plan.stream(world, learner, folder, Rng(0)), learner


@pytest.mark.parametrize("how", [{"cross": True}, {"pad": True}, {}], ids=str)
def test_what_is_recalled_of_a_step_is_what_was_believed_there_last(tmp_path, how):
    """When the step was lived at first, and, once it was learned from, at the update that did so."""
    made, learner = stream(tmp_path, Uniform(5, 6, **how), replay_context=1)
    newest: dict[tuple[int, int], int] = {}
    asked = refreshed = unknown = 0
    for batch in made:
        rows = made.sampler.rows(made.store, batch.key)
        for b in range(6):
            if not batch.known[b]:
                unknown += 1
                assert rows[b, 0] not in newest  # lived while warming up, and not learned from yet
                continue
            asked += 1
            assert torch.equal(batch.recalled["saw"][b], batch.obs["grid"][b, 0].flatten().to(torch.uint8))
            when = int(batch.recalled["when"][b, 0])
            if rows[b, 0] in newest:
                refreshed += 1
                assert when == newest[rows[b, 0]]
        learner.see(batch)
        for b in range(6):
            for t in range(6):
                possible = batch.mask[b, t] if t < 5 else batch.mask[b, 4] | batch.first[b, 5]
                looked = t > 0 or not batch.known[b] or batch.first[b, 0]
                if possible and looked:
                    newest[rows[b, t]] = learner.now
    made.close()
    assert asked > 250
    assert refreshed > 150
    assert 0 < unknown < 100
    assert not list(tmp_path.glob("episodes/*belief*"))


class Refreshing(Remembering):
    """Knows better of every other step of its windows."""

    def beliefs(self):
        told = {name: value[:, :-1] for name, value in super().beliefs().items()}
        known = torch.zeros(told["saw"].shape[:2], dtype=torch.bool)
        known[:, ::2] = True
        return {**told, "known": known}


@pytest.mark.parametrize("how", [{"pad": True}, {}], ids=str)
def test_windows_have_the_newest_of_what_was_told_of_each_step(tmp_path, how):
    world = Dummy(game="dot", size=3, zoom=0, time_limit=7)
    learner = Refreshing(world.spec())
    plan = Replay(Uniform(5, 6, **how), 4, piece=3, warmup=40, steps_per_update=4.0, updates=60, refresh=True)
    made = plan.stream(world, learner, tmp_path, Rng(0))
    newest: dict[int, int] = {}
    refreshed = unknown = 0
    for batch in made:
        rows = made.sampler.rows(made.store, batch.key)
        for b, t in batch.mask.nonzero().tolist():
            when, saw = int(batch.extras["when"][b, t, 0]), batch.extras["saw"][b, t]
            if not saw.any():
                unknown += 1  # lived while warming up
                assert rows[b, t] not in newest
                continue
            assert torch.equal(saw, batch.obs["grid"][b, t].flatten().to(torch.uint8))
            if rows[b, t] in newest:
                refreshed += 1
                assert when == newest[rows[b, t]]
        learner.see(batch)
        for b, t in batch.mask.nonzero().tolist():
            if t % 2 == 0:
                newest[rows[b, t]] = learner.now
    made.close()
    assert refreshed > 300
    assert 0 < unknown < 500
    assert not list(tmp_path.glob("episodes/*when*"))


def test_what_is_refreshed_is_not_where_windows_begin_from(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.refresh=true with windows that begin from beliefs"):
        Replay(Uniform(5, 6), refresh=True, replay_context=1)


def test_beliefs_are_not_in_the_store_and_their_folder_is_emptied_with_it(tmp_path):
    made, learner = stream(tmp_path, Uniform(5, 6, cross=True), replay_context=1)
    for batch in made:
        learner.see(batch)
        made.snapshot()
    assert made.store.extras == {}
    made.close()
    again, _ = stream(tmp_path, Uniform(5, 6, cross=True), replay_context=1)
    state = again.snapshot()  # before anything is lived
    again.close()
    third, _ = stream(tmp_path, Uniform(5, 6, cross=True), replay_context=1)
    third.restore(state)
    first = next(iter(third))
    assert not first.known.any()  # all was lived at random
    third.close()


def test_a_row_is_handed_what_was_believed_at_the_end_of_its_window_before(tmp_path):
    made, learner = stream(tmp_path, Consecutive(5, 6, cross=True, reset_interval=25))
    before, went_on = None, 0
    for batch in made:
        if before is None:
            assert batch.known is None
        else:
            assert (batch.recalled["when"] == learner.now).all()
            at = batch.known & ~batch.first[:, 0]
            assert torch.equal(batch.recalled["saw"][at], batch.obs["grid"][at, 0].flatten(1).to(torch.uint8))
            went_on += int(at.sum())
        learner.see(batch)
        before = batch
    made.close()
    assert went_on > 150


@pytest.mark.parametrize(
    ("sampler", "context"), [(Uniform(5, 6, cross=True), 1), (Consecutive(5, 6, cross=True, reset_interval=25), 0)]
)
def test_a_stream_that_was_killed_and_restored_hands_out_the_same_beliefs(tmp_path, sampler, context):
    """Beliefs that were written after the snapshot are on the disk, and must not be seen."""

    def go_on(made, learner, count):
        batches, found = iter(made), []
        for _ in range(count):
            batch = next(batches)
            found.append(batch)
            learner.see(batch)
        return found

    made, learner = stream(tmp_path, sampler, replay_context=context)
    go_on(made, learner, 10)
    state = made.snapshot()
    expected = go_on(made, learner, 20)
    made.store.close()  # as if killed: the beliefs are not closed, and nothing is undone
    again, its = stream(tmp_path, sampler, replay_context=context)
    again.restore(state)
    its.now = 10
    for one, other in zip(expected, go_on(again, its, 20), strict=True):
        assert torch.equal(one.key, other.key)
        assert torch.equal(one.known, other.known)
        for name, value in one.recalled.items():
            assert torch.equal(value[one.known], other.recalled[name][other.known])
    again.close()


def test_rows_of_a_recording_read_on_too_and_go_on_when_restored(tmp_path, store):
    plan = Segment(str(store.folder), 4, 6, updates=8, cross=True, held_out=0.0, reset_interval=25)
    found: list[list[Batch]] = []
    state: dict[str, Any] = {}
    for restored in (False, True):
        learner = Remembering(SPEC)
        learner.beliefs = lambda learner=learner: {"clock": learner.batch.obs["clock"] + 100_000 * learner.now}
        made = plan.stream(None, learner, tmp_path, Rng(0))
        if restored:
            made.restore(state)
            learner.now = 11
        batches = []
        for _ in range(1 if restored else 2):
            for batch in made:
                learner.see(batch)
                batches.append(batch)
                if not restored and len(batches) == 11:
                    state = made.snapshot()
        made.close()
        found.append(batches)
    assert len(found[0]) == 16
    for one, other in zip(found[0][11:], found[1], strict=True):
        for name in ("key", "known"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert torch.equal(one.recalled["clock"], other.recalled["clock"])
    went_on = 0
    for now, batch in enumerate(found[0]):
        if now:
            at = batch.known & ~batch.first[:, 0]
            assert torch.equal(batch.recalled["clock"][at], batch.obs["clock"][at, 0] + 100_000 * now)
            went_on += int(at.sum())
    assert went_on > 50


def test_rows_that_read_on_are_gathered_in_one_process():
    with pytest.raises(ConfigError, match="workers=2 with reset_interval=200"):
        Segment("anywhere", workers=2, reset_interval=200)


@pytest.mark.parametrize("interval", [4, 8])
def test_rows_that_would_jump_after_every_window_are_refused(interval: int) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)reset_interval={interval} with windows of 8.*data\.reset_interval"):
        Segment("anywhere", 8, reset_interval=interval)
    with pytest.raises(ConfigError, match=r"data\.sampler\.reset_interval"):
        Consecutive(8, 2, reset_interval=interval)


def test_beliefs_are_either_carried_on_or_kept():
    with pytest.raises(ConfigError, match="replay_context=1 with windows that carry"):
        Replay(Consecutive(5, 6), replay_context=1)
