"""Recording up to a requested amount, again and again."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.data.interrupt import Deferred
from worldmodels.data.recorder import Recorder
from worldmodels.data.store import EpisodeStore
from worldmodels.env.dummy import Dummy
from worldmodels.env.minatar import MinAtar
from worldmodels.policy.scripted import Random

DOT = Dummy(game="dot", zoom=0, time_limit=7)
CORRIDOR = Dummy(game="corridor", size=3, time_limit=40)  # episodes of 2 to 40 steps


def recorder(folder, recipe=DOT, width=4, policy=None, piece=3) -> Recorder:
    env = recipe.make(width)
    exists = (folder / "store.json").exists()
    store = EpisodeStore.open(folder, write=True) if exists else EpisodeStore.create(folder, env.spec)
    return Recorder(Driver(env, policy or Random(env.spec), Rng(0), piece=piece, source={"policy": "random"}), store)


def test_recording_stops_at_the_amount_and_asking_again_does_nothing(tmp_path):
    one = recorder(tmp_path / "x")
    told = []
    summary = one.record(steps=102, progress=lambda done, total: told.append((done, total)))
    assert summary.env_steps == one.store.steps == 104  # the next multiple of the width
    assert told[-1] == (102, 102)
    assert summary.mean_return is not None
    one.store.close()
    two = recorder(tmp_path / "x")
    assert two.record(steps=102).added_steps == 0
    assert two.store.steps == 104
    two.store.close()


def test_a_recording_goes_on_to_more_in_another_process_with_other_randomness(tmp_path):
    one = recorder(tmp_path / "x", MinAtar())
    one.record(steps=400)
    before = one.store.episodes
    one.store.close()
    two = recorder(tmp_path / "x", MinAtar())
    assert two.record(steps=800).added_steps == 400
    numbers = two.store.episodes.number
    assert len(set(numbers.tolist())) == len(numbers)
    first, later = two.store[0].action, two.store[int(before.number.max()) + 1].action
    assert first[:20].tolist() != later[:20].tolist()
    assert not two.store.verify()
    two.store.close()


def test_the_same_recorder_continues_the_episodes_that_were_open(tmp_path):
    parts, once = recorder(tmp_path / "parts"), recorder(tmp_path / "once")
    for steps in (20, 24, 60):
        parts.record(steps=steps)
    once.record(steps=60)
    assert parts.store.episodes.number.tolist() == once.store.episodes.number.tolist()
    for number in once.store.episodes.number.tolist():
        np.testing.assert_array_equal(parts.store[number].obs["grid"], once.store[number].obs["grid"])
        np.testing.assert_array_equal(parts.store[number].action, once.store[number].action)
    for made in (parts, once):
        made.store.close()


def test_short_episodes_are_not_over_represented_when_episodes_are_counted(tmp_path):
    short, fair = [], []
    for seed in range(12):
        env = CORRIDOR.make(8)
        store = EpisodeStore.create(tmp_path / str(seed), env.spec)
        Recorder(Driver(env, Random(env.spec), Rng(seed)), store).record(episodes=8)
        assert len(store) == 8
        assert store.episodes.ended.all()
        assert sorted(store.episodes.number.tolist()) == list(range(8))
        fair.append(store.episodes.length.mean())
        driver = Driver(env, Random(env.spec), Rng(seed))
        while driver.episodes < 8:
            driver.step()
        short.append(np.mean([length for _, length in driver.drain()][:8]))
        store.close()
    assert np.mean(short) < np.mean(fair)


def test_counting_episodes_goes_on_to_more(tmp_path):
    one = recorder(tmp_path / "x")
    assert one.record(episodes=5).episodes == 5
    assert one.record(episodes=5).added_episodes == 0
    assert one.record(episodes=9).added_episodes == 4
    one.store.close()
    two = recorder(tmp_path / "x")
    assert two.record(episodes=10).episodes == 10
    assert sorted(two.store.episodes.number.tolist()) == list(range(10))
    two.store.close()


@pytest.mark.parametrize("amount", [{"steps": 4000}, {"episodes": 400}])
def test_an_interrupt_keeps_all_that_was_lived(tmp_path, amount):
    class Interrupting(Random):
        acted = 0

        def act(self, *args, **kwargs):
            Interrupting.acted += 1
            if Interrupting.acted == 26:
                raise KeyboardInterrupt
            return super().act(*args, **kwargs)

    one = recorder(tmp_path / "x", policy=Interrupting(DOT.spec()))
    with pytest.raises(KeyboardInterrupt):
        one.record(**amount)
    assert one.store.steps == 100
    one.store.close()
    two = recorder(tmp_path / "x")
    assert not two.store.verify()
    two.record(steps=200)
    assert two.store.steps == 200
    two.store.close()


@pytest.mark.parametrize("amount", [{"steps": 4000}, {"episodes": 400}])
@pytest.mark.parametrize("place", ["step", "flush"])
def test_an_interrupt_that_comes_while_a_block_changes_hands_loses_nothing(tmp_path, monkeypatch, amount, place):
    one = recorder(tmp_path / "x")
    real, told = getattr(one.driver, place), []

    def interrupted():
        blocks = real()
        if blocks and not told:
            told.append(sum(map(len, blocks)))
            signal.raise_signal(signal.SIGINT)
        return blocks

    monkeypatch.setattr(one.driver, place, interrupted)
    if place == "flush":
        amount = {"steps": 40}  # ends with a flush
    with pytest.raises(KeyboardInterrupt):
        one.record(**amount)
    assert one.store.steps == one.driver.steps == (40 if place == "flush" else told[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert one.record(steps=100).env_steps == 100
    assert not one.store.verify()
    one.store.close()


def test_a_second_interrupt_does_not_wait():
    reached = []

    def interrupt_twice() -> None:
        with Deferred():
            for place in ("after the first", "after the second"):
                signal.raise_signal(signal.SIGINT)
                reached.append(place)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert reached == ["after the first"]


@pytest.mark.parametrize("amount", [{}, {"steps": 1, "episodes": 1}])
def test_an_unclear_amount_is_refused(tmp_path, amount):
    one = recorder(tmp_path / "x")
    with pytest.raises(ConfigError, match="one of the two"):
        one.record(**amount)
    one.store.close()


def test_a_second_interrupt_waits_for_what_must_stay_whole():
    done = []

    def interrupt_twice() -> None:
        with Deferred() as interrupt:
            signal.raise_signal(signal.SIGINT)
            with interrupt.whole():
                signal.raise_signal(signal.SIGINT)
                done.append("whole")
            done.append("never")

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert done == ["whole"]


def test_the_mean_return_is_that_of_the_episodes_that_were_kept(tmp_path):
    """Others, begun later and over sooner, are not."""
    one = recorder(tmp_path / "x", CORRIDOR, piece=64)
    for total in (5, 9):
        numbers = set(one.store.episodes.number.tolist()) if len(one.store) else set()
        told = one.record(episodes=total).mean_return
        new = set(one.store.episodes.number.tolist()) - numbers
        assert len(new) == total - len(numbers)
        assert told == pytest.approx(np.mean([one.store[number].reward.sum() for number in sorted(new)]))
    one.store.close()
