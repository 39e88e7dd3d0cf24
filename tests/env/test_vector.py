"""Vector envs: serial against a naive loop, subprocesses against serial, and what happens when a worker fails."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from worldmodels.core.errors import ConfigError, ResumeError, SpecError, WorkerError
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.dummy import Dummy
from worldmodels.env.minatar import MinAtar
from worldmodels.env.recipe import Recipe
from worldmodels.env.wrappers import TimeLimit

RECIPES = [
    Dummy("bandit", delay=1),
    Dummy("dot", time_limit=7),
    Dummy("corridor", continuous=True, time_limit=9),
    MinAtar("breakout", time_limit=12),
]


class Fragile:
    """Observes its number of steps; fails in the way that its action says."""

    resumable = False
    spec = EnvSpec("fragile", {"vector": ArraySpec((1,), "float32")}, 9, extras={"twice": ArraySpec((), "int64")})

    def reset(self, seed=None):
        self.steps = 0
        return {"vector": np.zeros(1, np.float64 if seed == 13 else np.float32)}

    def step(self, action):
        if action == 7:
            raise ZeroDivisionError("the world broke")
        if action == 8:
            os._exit(3)
        self.steps += 1
        return {"vector": np.full(1, self.steps, np.float32)}, 0.0, action == 5, False, {"twice": 2 * self.steps}

    def snapshot(self):
        raise NotImplementedError

    def restore(self, state):
        raise NotImplementedError

    def close(self):
        pass


@dataclass(frozen=True)
class FragileRecipe(Recipe):
    def world(self) -> Any:
        return Fragile()


def actions(spec: EnvSpec, steps: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    if spec.discrete:
        return rng.integers(spec.action_size, size=(steps, width))
    return rng.uniform(-1, 1, (steps, width, spec.action_size)).astype(np.float32)


def flat(step) -> list[np.ndarray]:
    named = [step.obs, step.arrived, step.extras]
    return [array.copy() for group in named for array in group.values()] + [
        array.copy() for array in (step.reward, step.terminated, step.truncated)
    ]


def trace(env, moves) -> list[np.ndarray]:
    return [array for action in moves for array in flat(env.step(action))]


def assert_same(left, right) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.game)
def test_serial_env_equals_a_naive_loop_over_its_worlds(recipe):
    env, width = recipe.make(3), 3
    worlds = [recipe.world() for _ in range(width)]
    env.reset([4, 5, 6])
    for seed, world in zip([4, 5, 6], worlds, strict=True):
        world.reset(seed)
    (name,) = env.spec.obs
    ends = 0
    for action in actions(env.spec, 60, width):
        step = env.step(action)
        any_end = False
        for n, world in enumerate(worlds):
            obs, reward, terminated, truncated, _ = world.step(action[n])
            np.testing.assert_array_equal(step.arrived[name][n], obs[name])
            assert (step.reward[n], step.terminated[n], step.truncated[n]) == (
                np.float32(reward),
                terminated,
                truncated,
            )
            if terminated or truncated:
                any_end, obs = True, world.reset()
            np.testing.assert_array_equal(step.obs[name][n], obs[name])
        assert (step.arrived is step.obs) == (not any_end)
        ends += any_end
    assert ends > 3


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.game)
def test_subprocesses_give_the_same_results_bit_for_bit_also_after_a_restore(recipe):
    serial, parallel, other = recipe.make(5), recipe.make(5, workers=2), recipe.make(5, workers=3)
    moves, seeds = actions(serial.spec, 80, 5), [11, 12, 13, 14, 15]
    first, same = serial.reset(seeds), parallel.reset(seeds)
    assert_same(list(first.values()), list(same.values()))
    assert_same(trace(serial, moves[:40]), trace(parallel, moves[:40]))
    states = through_disk(serial.snapshot()), through_disk(parallel.snapshot())
    expected = trace(serial, moves[40:])
    assert_same(expected, trace(parallel, moves[40:]))
    other.reset([1, 2, 3, 4, 5])
    for env, state in ((other, states[0]), (serial, states[1])):
        env.restore(state)
        assert_same(expected, trace(env, moves[40:]))
    parallel.close()
    other.close()


def through_disk(state):
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


@pytest.mark.parametrize("recipe", RECIPES[1:], ids=lambda r: r.game)
def test_a_lane_does_not_depend_on_how_many_lanes_there_are(recipe):
    wide, narrow = recipe.make(6), recipe.make(2)
    moves = actions(wide.spec, 50, 6)
    wide.reset([0, 1, 2, 3, 4, 5])
    narrow.reset([5, 2])
    for action in moves:
        left, right = flat(wide.step(action)), flat(narrow.step(action[[5, 2]]))
        assert_same([array[[5, 2]] for array in left], right)


def test_a_reset_with_the_same_seeds_starts_the_same_episodes_and_other_seeds_others():
    env = MinAtar("freeway").make(2)
    moves = actions(env.spec, 20, 2)
    env.reset([1, 2])
    once = trace(env, moves)
    env.reset([1, 2])
    assert_same(once, trace(env, moves))
    env.reset([1, 3])
    assert any((a != b).any() for a, b in zip(once, trace(env, moves), strict=True))


def test_extras_lie_beside_the_step_they_belong_to_in_both_kinds_of_env():
    for workers in (0, 2):
        env = FragileRecipe().make(2, workers)
        env.reset([0, 0])
        env.step(np.array([0, 0]))
        step = env.step(np.array([0, 5]))
        assert step.extras["twice"].tolist() == [4, 4]
        assert step.arrived["vector"].tolist() == [[2], [2]]
        assert step.obs["vector"].tolist() == [[2], [0]]
        env.close()


def test_a_wrong_first_observation_is_refused_with_what_was_declared():
    env = FragileRecipe().make(1)
    with pytest.raises(SpecError, match=r"float64 \(1,\)[\s\S]*vector float32 \(1,\)"):
        env.reset([13])


def test_wrong_numbers_of_seeds_actions_and_worlds_are_refused():
    env = Dummy().make(3)
    with pytest.raises(SpecError, match="2 seeds for 3 worlds"):
        env.reset([1, 2])
    env.reset([1, 2, 3])
    with pytest.raises(SpecError, match="4 actions for 3 worlds"):
        env.step(np.zeros(4, np.int64))
    with pytest.raises(ResumeError, match="width=3"):
        Dummy().make(2).restore(env.snapshot())
    for width, workers in ((0, 0), (2, -1)):
        with pytest.raises(ConfigError):
            Dummy().make(width, workers)


def test_an_env_that_can_not_save_itself_says_so():
    for workers in (0, 1):
        env = FragileRecipe().make(2, workers)
        assert not env.resumable
        with pytest.raises(ResumeError, match="fragile"):
            env.snapshot()
        env.close()


def test_a_world_that_fails_in_a_worker_names_the_worker_and_shows_the_traceback():
    env = FragileRecipe().make(3, workers=2)
    env.reset([0, 0, 0])
    with pytest.raises(WorkerError, match=r"worker 1 of 2 \(worlds 1 to 2[\s\S]*in step[\s\S]*the world broke"):
        env.step(np.array([0, 0, 7]))
    with pytest.raises(WorkerError, match="closed"):
        env.step(np.array([0, 0, 0]))


def test_a_worker_that_dies_is_noticed():
    env = FragileRecipe().make(2, workers=2)
    env.reset([0, 0])
    with pytest.raises(WorkerError, match=r"worker 0 of 2[\s\S]*exit code 3"):
        env.step(np.array([8, 0]))


def test_signals_meant_for_the_run_do_not_take_the_workers_away():
    env = Dummy("dot").make(2, workers=2)
    env.reset([1, 2])
    for process in env._processes:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            os.kill(process.pid, number)
    env.step(np.zeros(2, np.int64))
    assert len(env.snapshot()["worlds"]) == 2
    env.close()


OWNER = """
import time
from worldmodels.env.dummy import Dummy
if __name__ == "__main__":
    env = Dummy().make(2, workers=2)
    env.reset([1, 2])
    print(*[process.pid for process in env._processes], flush=True)
    {then}
"""


@pytest.mark.parametrize("then", ["time.sleep(60)", "raise SystemExit(0)"])
def test_no_worker_outlives_its_owner(tmp_path, then):
    script = tmp_path / "owner.py"
    script.write_text(OWNER.format(then=then))
    owner = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(workers) == 2
    if "sleep" in then:
        owner.kill()
    assert owner.wait(20) == (-signal.SIGKILL if "sleep" in then else 0)
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Ends(Fragile):
    """Terminates at its third step."""

    def step(self, action):
        self.steps += 1
        return {}, 0.0, self.steps == 3, False, {}


def test_time_limit_truncates_but_never_hides_a_termination():
    def flags(limit):
        world = TimeLimit(Ends(), limit)
        world.reset()
        return [world.step(0)[2:4] for _ in range(limit)]

    assert flags(2) == [(False, False), (False, True)]
    assert flags(3) == [(False, False), (False, False), (True, False)]
