"""Gymnasium's spaces become specs, its values arrays, and small worlds can be saved."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from importlib.util import find_spec
from textwrap import dedent

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from omegaconf import OmegaConf

from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.env.adapter import as_gymnasium
from worldmodels.env.atari import Atari
from worldmodels.env.dummy import Dummy
from worldmodels.env.gymnasium import Gymnasium, GymnasiumWorld
from worldmodels.env.minatar import MinAtar
from worldmodels.env.spaces import arrays, hand, readers

CLASSIC = ["CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1"]
TOYS = ["FrozenLake-v1", "CliffWalking-v1", "Taxi-v4"]


def play(world, seed, steps=60):
    """Everything that a world tells of `steps` steps after reset(seed); None goes on."""
    rng = np.random.default_rng(7)
    told = [world.reset(seed)] if seed is not None else []
    for _ in range(steps):
        discrete = world.spec.discrete
        action = int(rng.integers(world.spec.action_size)) if discrete else rng.uniform(-1, 1, world.spec.action_size)
        obs, *rest = world.step(action)
        told += [{name: array.copy() for name, array in obs.items()}, rest]
        if rest[1] or rest[2]:
            told.append(world.reset())
    return told


@pytest.mark.parametrize("name", CLASSIC + TOYS)
def test_small_worlds_are_restored_bit_for_bit(name):
    recipe = Gymnasium(name, time_limit=40)
    world, other = recipe.world(), recipe.world()
    play(world, 3, steps=55)
    state = world.snapshot()
    other.reset(99)
    other.restore(state)
    np.testing.assert_equal(play(world, None, steps=100), play(other, None, steps=100))


@pytest.mark.parametrize("name", CLASSIC)
def test_our_world_says_what_gymnasium_says(name):
    world, peer = Gymnasium(name).world(), gymnasium.make(name)
    ours, (theirs, _) = world.reset(5), peer.reset(seed=5)
    rng = np.random.default_rng(0)
    for _ in range(80):
        np.testing.assert_allclose(ours["vector"], theirs, rtol=1e-4, atol=1e-4)
        if world.spec.discrete:
            action = their_action = int(rng.integers(world.spec.action_size))
        else:
            action = rng.uniform(-1, 1, 1).astype(np.float32)
            high = peer.action_space.high.astype(np.float64)  # these two have a symmetric range
            their_action = (action * high).astype(np.float32)
        ours, reward, terminated, truncated, _ = world.step(action)
        theirs, *rest = peer.step(their_action)
        np.testing.assert_allclose([reward, terminated, truncated], np.array(rest[:3], float), rtol=1e-5)
        if terminated or truncated:
            ours, (theirs, _) = world.reset(), peer.reset()


class Odd(gymnasium.Env):
    """An env of our own with every kind of observation."""

    observation_space = spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (3, 12, 10), np.uint8),
            "place": spaces.Discrete(3, start=1),
            "pair": spaces.MultiDiscrete([2, 3]),
            "bits": spaces.MultiBinary(4),
            "nested": spaces.Dict({"speed": spaces.Box(-1, 1, (2,), np.float64)}),
        }
    )
    action_space = spaces.MultiDiscrete([3, 2])

    def __init__(self):
        self.heard = []

    def _obs(self):
        place, pair = 1 + len(self.heard) % 3, np.array([1, len(self.heard) % 3])
        camera = np.full((3, 12, 10), len(self.heard), np.uint8)
        return {"camera": camera, "place": place, "pair": pair, "bits": np.array([0, 1, 1, 0], np.int8)} | {
            "nested": {"speed": np.array([0.5, -0.5])}
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.heard = []
        return self._obs(), {}

    def step(self, action):
        self.heard.append(tuple(int(a) for a in action))
        return self._obs(), 1.0, False, False, {}


def test_a_dict_of_everything_becomes_arrays_by_name():
    world = GymnasiumWorld(Odd(), "odd")
    first = world.reset(0)
    kinds = {name: (spec.kind, spec.shape, spec.dtype) for name, spec in world.spec.obs.items()}
    assert kinds == {
        "camera": ("image", (12, 10, 3), "uint8"),
        "place": ("vector", (3,), "float32"),
        "pair": ("vector", (5,), "float32"),
        "bits": ("vector", (4,), "float32"),
        "nested_speed": ("vector", (2,), "float32"),
    }
    assert {name: (array.shape, array.dtype.name) for name, array in first.items()} == {
        name: (shape, dtype) for name, (_, shape, dtype) in kinds.items()
    }
    obs = world.step(0)[0]
    assert obs["place"].tolist() == [0, 1, 0]
    assert obs["pair"].tolist() == [0, 1, 0, 1, 0]


def test_several_choices_are_one_choice_with_the_last_part_fastest():
    world = GymnasiumWorld(Odd(), "odd")
    world.reset(0)
    for action in range(world.spec.action_size):
        world.step(action)
    assert world.env.heard == [(a, b) for a in range(3) for b in range(2)]


def test_continuous_actions_are_stretched_to_the_range_of_the_env():
    box = hand(spaces.Box(np.array([0.0, -2.0], np.float32), np.array([10.0, 2.0], np.float32)))
    assert box.turn(np.array([-1.0, 1.0], np.float32)).tolist() == [0.0, 2.0]
    assert box.turn(np.array([0.0, 0.0], np.float32)).tolist() == [5.0, 0.0]


@pytest.mark.parametrize(
    ("space", "hint"),
    [
        (spaces.Box(-np.inf, np.inf, (2,)), "RescaleAction"),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]), "TransformAction"),
        (spaces.MultiDiscrete([100, 100]), "fewer"),
        (spaces.Box(0, 5, (2,), np.int64), "MultiDiscrete"),
    ],
)
def test_actions_that_can_not_work_are_refused_with_a_remedy(space, hint):
    with pytest.raises(ConfigError) as caught:
        hand(space)
    assert hint in caught.value.do


def test_grids_of_integers_can_be_symbols():
    space = spaces.Box(0, np.array([[[3, 5]] * 4] * 4), (4, 4, 2), np.int64)
    parts = readers(space, "symbols")
    assert parts["symbols"].spec.classes == (4, 6)
    value = space.sample()
    np.testing.assert_array_equal(arrays(parts, value)["symbols"], value)
    with pytest.raises(ConfigError, match="observation=vector"):
        readers(spaces.Box(0.0, 1.0, (4, 4, 2)), "symbols")


def test_pixels_are_the_rendered_picture():
    pytest.importorskip("pygame")
    world = Gymnasium("CartPole-v1", observation="pixels", size=32).world()
    first = world.reset(0)["image"].copy()
    for _ in range(8):
        last = world.step(1)[0]["image"]
    assert first.shape == world.spec.obs["image"].shape == (32, 32, 3)
    assert (first != last).any()


def test_rendering_on_a_machine_without_a_screen_says_nothing():
    code = """from worldmodels.env.gymnasium import Gymnasium
world = Gymnasium("CartPole-v1", observation="pixels", size=32).world()
world.reset(0)
world.close()"""
    hidden = ("XDG_RUNTIME_DIR", "SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")
    bare = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert "XDG_RUNTIME_DIR" not in done.stdout + done.stderr


def test_an_unknown_id_names_the_nearest_ones():
    with pytest.raises(ConfigError) as caught:
        Gymnasium("CartPoal-v1")
    assert "CartPole-v1" in caught.value.do
    with pytest.raises(ConfigError, match="no_such_module"):
        Gymnasium("no_such_module:Thing-v0")
    with pytest.raises(ConfigError, match="kwargs"):
        Gymnasium("CartPole-v1", kwargs={"wheels": 4}).world()


def test_an_env_that_can_not_save_itself_says_so():
    world = GymnasiumWorld(Odd(), "odd")
    assert not world.resumable
    with pytest.raises(ResumeError, match="next episode"):
        world.snapshot()


def test_unknown_wrappers_may_hide_state_so_nothing_is_promised():
    env = gymnasium.wrappers.FrameStackObservation(gymnasium.make("CartPole-v1"), 2)
    assert not GymnasiumWorld(env, "stacked").resumable


def test_an_env_with_snapshot_and_restore_is_resumable():
    class Saving(Odd):
        def snapshot(self):
            return {"heard": self.heard}

        def restore(self, state):
            self.heard = state["heard"]

    world, other = GymnasiumWorld(Saving(), "odd"), GymnasiumWorld(Saving(), "odd")
    world.reset(0)
    world.step(1)
    other.restore(world.snapshot())
    np.testing.assert_equal(world.step(2), other.step(2))


def test_ids_of_other_modules_are_imported_and_recipes_travel(tmp_path, monkeypatch):
    (tmp_path / "far_away.py").write_text(
        dedent(
            """
            import gymnasium
            from gymnasium.envs.classic_control import CartPoleEnv
            gymnasium.register("Near-v0", CartPoleEnv, max_episode_steps=7)
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = OmegaConf.create({"kwargs": {"sutton_barto_reward": True}})
    recipe = pickle.loads(pickle.dumps(Gymnasium("far_away:Near-v0", kwargs=options.kwargs)))
    assert type(recipe.kwargs) is dict
    world = recipe.world()
    world.reset(0)
    assert [world.step(k % 2)[3] for k in range(7)] == [False] * 6 + [True]
    assert "far_away" in sys.modules


def needing(package, recipe):
    """A recipe to be made, or skipped where its package is missing."""
    return pytest.param(package, recipe, id=package)


@pytest.mark.parametrize(
    ("package", "recipe"),
    [
        needing("gymnasium", lambda: Gymnasium("Pendulum-v1")),
        needing("numpy", lambda: Dummy("bandit")),
        needing("minatar", lambda: MinAtar("breakout")),
        needing("ale_py", lambda: Atari("breakout", obs="grey84")),
    ],
)
def test_our_worlds_pass_gymnasiums_own_check(package, recipe):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(as_gymnasium(recipe().world()), skip_render_check=True)


def test_the_adapter_says_what_the_world_says():
    world, env = Dummy("dot").world(), as_gymnasium(Dummy("dot").world())
    first, (value, info) = world.reset(3), env.reset(seed=3)
    assert info == {}
    kept = []
    for _ in range(5):
        np.testing.assert_array_equal(first["image"], value)
        kept.append((value, value.copy()))
        (first, *ours), (value, *theirs) = world.step(2), env.step(np.int64(2))
        assert ours == theirs
    assert all(np.array_equal(value, copy) for value, copy in kept)  # no array is written to twice
