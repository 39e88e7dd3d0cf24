import tracemalloc
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from worldmodels.core.errors import ConfigError, StoreError
from worldmodels.core.experience import Episode
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.sampler import Prioritised, Uniform
from worldmodels.data.store import EpisodeStore
from worldmodels.data.weights import Weights

RECENT = partial(Uniform, capacity=100_000)
SPEC = EnvSpec("toy", {"clock": ArraySpec((1,), "int64")}, 5)


def piece(number: int, start: int, steps: int, *, ended: bool = False) -> Episode:
    clock = 1000 * number + np.arange(start, start + steps + 1)
    action, reward = clock[:-1] % 5, clock[1:].astype(np.float32)
    return Episode({"clock": clock[:, None]}, action, reward, ended, False, number=number, start=start)


@pytest.fixture
def store(tmp_path):
    """Episodes of 3, 10 and 30 steps, the last one in pieces of 10, and one of 6 that runs on."""
    with EpisodeStore.create(tmp_path / "s", SPEC) as made:
        made.extend([piece(0, 0, 3, ended=True), piece(2, 0, 10), piece(1, 0, 10, ended=True)])
        made.extend([piece(2, 10, 10), piece(3, 0, 6), piece(2, 20, 10, ended=True)])
        yield made


def drawn(sampler, store, times: int) -> Counter:
    rng = Rng(0)
    return Counter(tuple(key) for _ in range(times) for key in sampler.sample(store, rng).key.tolist())


def assert_uniform(counts: Counter, candidates: list[tuple[int, int]]) -> None:
    """Every candidate, nothing else, and a chi-square that a uniform source exceeds once in about 100 000 times."""
    assert set(counts) == set(candidates)
    expected = counts.total() / len(candidates)
    chi = sum((counts[c] - expected) ** 2 / expected for c in candidates)
    freedom = len(candidates) - 1
    assert chi < freedom + 4.3 * np.sqrt(2 * freedom) + 6


def test_uniform_draws_every_start_whose_window_fits_equally_often(store):
    fits = [(n, t) for n, length in ((1, 10), (2, 30), (3, 6)) for t in range(length - 5 + 1)]
    assert_uniform(drawn(Uniform(5, 20), store, 250), fits)


@pytest.mark.parametrize("how", ["pad", "cross"])
def test_padded_and_crossing_windows_begin_at_any_step(store, how):
    every = [(n, t) for n, length in ((0, 3), (1, 10), (2, 30), (3, 6)) for t in range(length)]
    assert_uniform(drawn(Uniform(5, 20, **{how: True}), store, 250), every)


def test_a_sampler_keeps_to_its_side_of_the_split(store):
    for sampler in (Uniform(3, 20), RECENT(3, 20), Prioritised(3, 20), Uniform(8, 20, cross=True)):
        assert {n for n, _ in drawn(sampler.over(np.array([1, 3])), store, 30)} == {1, 3}
    batch = Uniform(16, 50, cross=True).over(np.array([1, 3])).sample(store, Rng(0))
    assert set((batch.obs["clock"] // 1000).unique().tolist()) == {1, 3}


LAST = [*((2, t) for t in range(15, 20)), *((3, t) for t in range(6)), *((2, t) for t in range(20, 30))]  # 21 steps


@pytest.mark.parametrize("how", [{"length": 1}, {"length": 5, "cross": True}, {"length": 5, "pad": True}])
def test_within_a_capacity_starts_are_the_last_steps_that_were_recorded(store, how):
    assert_uniform(drawn(Uniform(batch=20, capacity=21, **how), store, 250), LAST)


def test_within_a_capacity_whole_windows_begin_where_they_fit(store):
    fits = [(2, t) for t in range(15, 20)] + [(3, t) for t in range(3)] + [(2, t) for t in range(20, 27)]
    assert_uniform(drawn(Uniform(4, 20, capacity=21), store, 250), fits)
    assert set(drawn(Uniform(10, 20, capacity=11), store, 20)) == {(2, 20)}  # one of 11 steps, seldom met by chance


def test_a_capacity_counts_the_steps_of_all_episodes_whichever_are_drawn(store):
    assert_uniform(drawn(Uniform(1, 20, capacity=21).over(np.array([0, 3])), store, 50), [(3, t) for t in range(6)])


def test_a_capacity_beyond_the_store_draws_from_all_of_it(store):
    every = [(n, t) for n, length in ((0, 3), (1, 10), (2, 30), (3, 6)) for t in range(length)]
    assert_uniform(drawn(RECENT(5, 20, cross=True), store, 250), every)


def test_within_a_capacity_a_batch_costs_the_same_however_many_episodes_there_are(tmp_path):
    """Memory tells, unlike time: an array as long as the table would be many times what a batch takes."""
    peaks: dict[bool, list[int]] = {False: [], True: []}
    for count in (100, 8_000):
        with EpisodeStore.create(tmp_path / str(count), SPEC) as made:
            made.extend([piece(n, 0, 4, ended=True) for n in range(count)])
            for cross, found in peaks.items():
                sampler = Uniform(3, 4, capacity=200, cross=cross)
                sampler.sample(made, Rng(0))
                tracemalloc.start()
                sampler.sample(made, Rng(1))
                found.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
    for few, many in peaks.values():
        assert many < 2 * few
        assert few < 8_000 * 8 / 2  # so that one number for each episode would be too many


def test_within_a_capacity_a_reopened_store_gives_the_same_draws(store):
    sampler, cursor = Uniform(4, 20, capacity=21), store.snapshot()
    before = [sampler.keys(store, Rng(n)).tolist() for n in range(5)]
    store.extend([piece(3, 6, 4), piece(4, 0, 50)])
    assert {n for n, _ in drawn(sampler, store, 20)} == {4}
    store.restore(cursor)
    assert [sampler.keys(store, Rng(n)).tolist() for n in range(5)] == before
    with EpisodeStore.open(store.folder) as again:
        assert [sampler.keys(again, Rng(n)).tolist() for n in range(5)] == before


@pytest.mark.parametrize("among", [None, [0, 1, 3], [3]])
def test_windows_that_cross_go_around_all_episodes_as_a_loop_does(store, among):
    lengths = {0: 3, 2: 30, 1: 10, 3: 6}  # in the order in which they began
    ring = [(n, t) for n, length in lengths.items() if among is None or n in among for t in range(length + 1)]
    starts = np.array([key for key in ring if key[1] < lengths[key[0]]])
    places, steps = store.moments(starts, 60, cross=True, among=None if among is None else np.array(among))
    found = np.stack([store.index.table.number.values[places], steps], -1)
    for start, window in zip(starts.tolist(), found.tolist(), strict=True):
        at = ring.index(tuple(start))
        assert window == [list(ring[(at + k) % len(ring)]) for k in range(61)]


def test_prioritised_follows_priorities_and_weighs_against_them(store):
    sampler, rng = Prioritised(1, 256, alpha=0.5, beta=1.0, epsilon=1.0), Rng(0)
    sampler.sample(store, rng)
    every = [(n, t) for n, length in ((0, 3), (1, 10), (2, 30), (3, 6)) for t in range(length)]
    surprise = torch.tensor([float((7 * n + t) % 5) for n, t in every])
    sampler.update(torch.tensor(every), surprise)
    priority = surprise + 1.0
    counts = drawn(sampler, store, 100)
    for key, p in zip(every, priority.tolist(), strict=True):
        expected = 256 * 100 * p**0.5 / float((priority**0.5).sum())
        assert abs(counts[key] - expected) < 6 * np.sqrt(expected)
    batch = sampler.sample(store, rng)
    drawn_priority = torch.tensor([priority[every.index(tuple(k))] for k in batch.key.tolist()])
    weight = drawn_priority**-0.5
    torch.testing.assert_close(batch.weight, (weight / weight.max()).float(), rtol=1e-4, atol=1e-6)


def test_new_steps_get_the_greatest_priority_as_soon_as_their_window_fits(store):
    sampler, rng = Prioritised(8, 16), Rng(0)
    assert {n for n, _ in drawn(sampler, store, 60)} == {1, 2}
    assert sampler.candidates == 3 + 23
    sampler.update(sampler.sample(store, rng).key, torch.full((16,), 1e6))
    sampler.update(torch.tensor([[n, t] for n, last in ((1, 3), (2, 23)) for t in range(last)]), torch.zeros(26))
    store.extend([piece(3, 6, 4, ended=True)])
    assert {n for n, _ in drawn(sampler, store, 20)} == {3}
    assert set(drawn(sampler, store, 20)) == {(3, 0), (3, 1), (3, 2)}


def test_fresh_windows_are_told_once_and_not_after_they_were_drawn(store):
    sampler = Prioritised(8, 16, pad=True)
    told = [tuple(key) for batch in sampler.fresh(store) for key in batch.key.tolist()]
    assert sorted(told) == [(n, t) for n, length in ((0, 3), (1, 10), (2, 30), (3, 6)) for t in range(length)]
    assert not list(sampler.fresh(store))
    store.extend([piece(3, 6, 4, ended=True)])
    assert [batch.key.tolist() for batch in sampler.fresh(store)] == [[[3, t] for t in range(10)]], "all have grown"
    store.extend([piece(4, 0, 5)])
    sampler.sample(store, Rng(0))
    assert not list(sampler.fresh(store))


def test_a_restored_prioritised_sampler_goes_on_with_the_same_draws(store):
    sampler = Prioritised(2, 8)
    for step in range(5):
        batch = sampler.sample(store, Rng(step))
        sampler.update(batch.key, torch.rand(8, generator=torch.Generator().manual_seed(step)))
    state, cursor = sampler.snapshot(), store.snapshot()
    store.extend([piece(3, 6, 4), piece(4, 0, 50)])
    sampler.sample(store, Rng(8))
    store.restore(cursor)
    other = Prioritised(2, 8)
    other.restore(state)
    store.extend([piece(3, 6, 2)])
    sampler.restore(state)
    assert torch.equal(sampler.sample(store, Rng(9)).key, other.sample(store, Rng(9)).key)
    assert other.candidates == sampler.candidates


def test_weights_draw_rows_of_all_blocks_and_never_one_without_weight():
    weights, rng = Weights(), np.random.default_rng(0)
    rows = rng.choice(5000, 300, replace=False)
    weights.put(rows, rng.random(300))
    weights.put(rows[:50], np.zeros(50))
    seen = np.concatenate([weights.draw(64, rng) for _ in range(300)])
    assert set(seen.tolist()) <= set(rows[50:].tolist())
    assert len(set(seen.tolist())) > 230
    assert np.isclose(weights.sums.sum(), weights.get(rows).sum())


@pytest.mark.parametrize("kind", [Uniform, RECENT, Prioritised])
def test_a_window_longer_than_any_episode_is_an_error_that_names_the_longest(store, kind):
    with pytest.raises(StoreError, match=r"no window of 31 steps; the longest episode has 30"):
        kind(31, 4).sample(store, Rng(0))
    assert kind(31, 4, cross=True).sample(store, Rng(0)).mask.any(1).all()
    assert kind(31, 4, pad=True).sample(store, Rng(0)).mask.any(1).all()


def test_an_empty_store_is_an_error(tmp_path):
    with EpisodeStore.create(tmp_path / "s", SPEC) as empty:
        for sampler in (Uniform(1, 1), RECENT(1, 1), Prioritised(1, 1), Uniform(1, 1, cross=True)):
            with pytest.raises(StoreError, match="nothing to draw from"):
                sampler.sample(empty, Rng(0))


def test_priorities_know_no_capacity():
    with pytest.raises(ConfigError, match="capacity=9 with Prioritised"):
        Prioritised(4, 4, capacity=9)


def test_batches_of_nothing_are_refused():
    with pytest.raises(ConfigError):
        Uniform(0, 4)


@pytest.mark.parametrize("kind", [Uniform, RECENT, Prioritised])
@pytest.mark.parametrize("how", ["pad", "cross"])
def test_windows_longer_than_all_that_the_store_holds_are_refused_before_they_take_memory(store, kind, how):
    assert kind(49, 2, **{how: True}).sample(store, Rng(0)).action.shape == (2, 49)
    with pytest.raises(StoreError, match=r"windows of 1000000000000 steps.*holds 49"):
        kind(10**12, 16, **{how: True}).sample(store, Rng(0))
    with pytest.raises(StoreError, match="holds 13"):
        kind(14, 2, **{how: True}).over(np.array([0, 1])).sample(store, Rng(0))
