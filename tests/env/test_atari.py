"""Frames and rules are those of Gymnasium and of ALE's own vector env; sticking and snapshots are exact."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.env.area import resize
from worldmodels.env.atari import Atari, seeds_of

pytest.importorskip("ale_py")


def _peer(monkeypatch, game: str, *, grey: bool, size: int, stack: int, noops: int):
    """Gymnasium's own stack of wrappers; OpenCV's resize is replaced by ours, which the vector env checks."""
    import ale_py
    import gymnasium
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    def area(frame, target, interpolation):
        return resize(frame.reshape(*frame.shape[:2], -1), target[1], target[0]).reshape(
            *target[::-1], *frame.shape[2:]
        )

    if not _has_opencv():
        monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(resize=area, INTER_AREA=3))
    gymnasium.register_envs(ale_py)
    env = gymnasium.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0)
    env = AtariPreprocessing(env, noop_max=noops, screen_size=size, grayscale_obs=grey)
    return FrameStackObservation(env, stack, padding_type="zero")


def _has_opencv() -> bool:
    try:
        import cv2
    except ImportError:
        return False
    return hasattr(cv2, "__version__")


@pytest.mark.parametrize(("game", "name", "obs"), [("breakout", "Breakout", "grey84"), ("pong", "Pong", "rgb64")])
def test_frames_rewards_and_ends_equal_those_of_gymnasium(monkeypatch, game, name, obs):
    recipe = Atari(game, obs=obs, stack=2, noops=30, sticky=0.0)
    seed = next(s for s in range(100) if int(np.random.SeedSequence(s).generate_state(2)[1]) < 2**31)
    world = recipe.world()
    peer = _peer(monkeypatch, name, grey=recipe.colours == 1, size=recipe.size, stack=2, noops=30)
    rng = np.random.default_rng(0)
    ours, (theirs, _) = world.reset(seed), peer.reset(seed=seed)
    ends = 0
    for _ in range(400):
        flat = theirs.reshape(2, 84, 84, 1) if obs == "grey84" else theirs
        np.testing.assert_array_equal(ours["image"], np.concatenate(list(flat), axis=-1))
        action = int(rng.integers(world.spec.action_size))
        ours, reward, terminated, truncated, extras = world.step(action)
        theirs, *rest = peer.step(action)
        assert [reward, terminated, truncated] == rest[:3]
        assert extras["lives"] == rest[3]["lives"]
        if terminated or truncated:
            ends += 1
            ours, (theirs, _) = world.reset(), peer.reset()
    assert ends > 0 or game == "pong"


@pytest.mark.parametrize("obs", ["grey84", "rgb64"])
def test_the_native_env_equals_the_python_one(obs):
    options = {"obs": obs, "stack": 2, "noops": 0, "sticky": 0.0, "time_limit": 1000}
    python, native = Atari("breakout", **options).make(2), Atari("breakout", **options, native=True).make(2)
    np.testing.assert_array_equal(python.reset([1, 2])["image"], native.reset([1, 2])["image"])
    rng, ends = np.random.default_rng(1), np.zeros(2, int)
    for _ in range(270):
        action = rng.integers(python.spec.action_size, size=2)
        ours, theirs = python.step(action), native.step(action)
        for name in ("reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        np.testing.assert_array_equal(ours.arrived["image"], theirs.arrived["image"])
        np.testing.assert_array_equal(ours.obs["image"], theirs.obs["image"])
        ends += ours.terminated | ours.truncated
    assert (ends > 0).all()
    with pytest.raises(ResumeError, match="native=false"):
        native.snapshot()


def _go_on(world, actions) -> list:
    """All that a world tells of these actions, with the first frames of the episodes between."""
    told = []
    for action in actions:
        obs, *rest = world.step(action)
        told += [obs["image"].copy(), *rest]
        if rest[1] or rest[2]:
            told.append(world.reset()["image"].copy())
    return told


@pytest.mark.parametrize("game", ["pong", "space_invaders", "freeway"])
def test_any_used_world_goes_on_bit_for_bit_from_a_snapshot_taken_at_any_moment(game):
    recipe = Atari(game, obs="grey42", stack=1, sticky=0.25, time_limit=400)  # 400: episodes end on the way
    world, other = recipe.world(), recipe.world()
    rng = np.random.default_rng(0)
    for seed in range(6):
        world.reset(seed)
        _go_on(world, rng.integers(world.spec.action_size, size=int(rng.integers(60))).tolist())
        _go_on(other, [1] * 5 if seed else [])  # it lives on from one seed to the next
        other.restore(world.snapshot())
        actions = rng.integers(world.spec.action_size, size=40).tolist()
        np.testing.assert_equal(_go_on(other, actions), _go_on(world, actions))


class _Watched:
    """An emulator that writes down the action of every frame."""

    def __init__(self, ale) -> None:
        self.ale, self.frames = ale, []

    def act(self, action: int):
        self.frames.append(int(action))
        return self.ale.act(action)

    def __getattr__(self, name: str):
        return getattr(self.ale, name)


@pytest.mark.parametrize("sticky", [0.0, 0.25, 1.0])
def test_a_frame_repeats_the_one_before_it_as_often_as_asked_for(sticky):
    world = Atari("pong", obs="grey8", stack=1, sticky=sticky, noops=0).world()
    world.reset(0)
    world.ale = _Watched(world.ale)
    before, repeated = 0, []
    for step in range(800):
        chosen = 3 + step % 2  # right and left of pong
        world.ale.frames.clear()
        world.step(world._actions.index(chosen))
        for executed in world.ale.frames:
            assert executed in (chosen, before)
            if chosen != before:  # only then repeating shows
                repeated.append(executed == before)
            before = executed
    assert np.mean(repeated) == pytest.approx(sticky, abs=0.04 if 0 < sticky < 1 else 0)


def test_the_first_frames_of_an_episode_do_not_repeat_the_last_action_of_the_one_before():
    world = Atari("pong", obs="grey8", stack=1, sticky=1.0).world()
    world.reset(0)
    world._executed = 3
    world.reset()
    world.ale = _Watched(world.ale)
    world.step(2)
    assert world.ale.frames == [0, 0, 0, 0]


def test_pongs_paddle_goes_as_far_as_with_ales_own_sticking():
    def places(act, ale) -> np.ndarray:
        """Histogram of where the paddle is, always from the same start, after standing and four frames of moving."""
        start, found = ale.cloneState(), []
        for _ in range(400):
            ale.restoreState(start)  # without its randomness, which goes on
            for action in (0, 0, 3):
                act(action)
            found.append(int(ale.getRAM()[51]))
        return np.bincount(found, minlength=256) / len(found)

    ours, never = (Atari("pong", obs="grey8", stack=1, noops=1, sticky=sticky).world() for sticky in (0.25, 0.0))
    theirs = Atari("pong", noops=1).world()
    theirs.ale.setFloat("repeat_action_probability", 0.25)
    for world in (ours, never, theirs):
        world.reset(5)  # loads the game, and with it ALE's probability
    far, straight = (
        places(lambda action, world=world: world.step(world._actions.index(action)), world.ale)
        for world in (ours, never)
    )
    expected = places(lambda action: [theirs.ale.act(action) for _ in range(4)], theirs.ale)
    assert np.abs(far - expected).sum() / 2 < 0.12
    assert np.abs(straight - expected).sum() / 2 > 0.3


def test_the_same_seed_brings_the_same_game_and_another_does_not():
    world = Atari("breakout", obs="grey84").world()

    def play(seed):
        world.reset(seed)
        return np.stack([world.step(k % 4)[0]["image"] for k in range(60)])

    first = play(0)
    np.testing.assert_array_equal(first, play(0))
    assert not np.array_equal(first, play(1))


def test_a_lost_life_ends_the_episode_only_if_asked():
    def first_loss(flag):
        world = Atari("breakout", obs="grey84", terminal_on_life_loss=flag, sticky=0.0).world()
        world.reset(0)
        for _ in range(200):
            _, _, terminated, _, extras = world.step(1)
            if extras["lives"] == 4:
                return terminated
        raise AssertionError("no life was lost")

    assert first_loss(True)
    assert not first_loss(False)


def test_the_time_limit_truncates_after_so_many_frames():
    world = Atari("pong", obs="grey84", time_limit=100, noops=0, frame_skip=4).world()
    world.reset(0)
    flags = [world.step(0)[2:4] for _ in range(25)]
    assert flags[-1] == (False, True)
    assert not any(any(flag) for flag in flags[:-1])


def test_full_actions_are_the_same_eighteen_in_every_game():
    names = {Atari(game, full_actions=True).spec().action_names for game in ("pong", "breakout")}
    assert len(names) == 1
    assert len(names.pop()) == 18
    assert Atari("breakout").spec().action_names == ("noop", "fire", "right", "left")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"game": "brekout"}, "breakout"),
        ({"game": "MsPacman"}, "ms_pacman"),
        ({"obs": "gray84"}, "grey84"),
        ({"sticky": 1.5}, "0.25"),
        ({"frame_skip": 0}, "frame_skip"),
        ({"native": True, "mode": 0}, "native=false"),
    ],
)
def test_bad_options_are_refused_with_a_remedy(options, hint):
    with pytest.raises(ConfigError) as caught:
        Atari(**options)
    assert hint in caught.value.do


def test_an_unknown_mode_lists_the_known_ones():
    with pytest.raises(ConfigError, match="one of"):
        Atari("breakout", mode=999).world()


def test_seeds_never_are_negative_for_the_emulator():
    assert all(seeds_of(seed)[1] >= 0 for seed in range(200))


def test_the_view_of_published_agents_is_what_they_were_trained_on():
    """Against ALE alone: greys, shrunk, then the greater of a step's last two; four of them, blank at first."""
    import ale_py

    recipe = Atari("pong", sticky=0.0, noops=0, views=("grey84",), time_limit=400)
    world, ale = recipe.world(), ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("random_seed", seeds_of(5)[1])
    ale.loadROM(ale_py.roms.get_rom_path("pong"))
    ale.reset_game()
    moves, rng = ale.getMinimalActionSet(), np.random.default_rng(0)

    def screen():
        return resize(ale.getScreenGrayscale()[..., None], 84, 84)[..., 0]

    stack = [np.zeros((84, 84), np.uint8)] * 3 + [screen()]
    obs = world.reset(5)
    for _ in range(95):
        np.testing.assert_array_equal(obs["grey84"], np.stack(stack, -1))
        action = int(rng.integers(len(moves)))
        obs, *_, truncated, _ = world.step(action)
        frames = []
        for _ in range(4):
            ale.act(moves[action])
            frames.append(screen())
        stack = [*stack[1:], np.maximum(frames[2], frames[3])]
        assert not truncated
    assert (world.reset()["grey84"][..., :3] == 0).all()


def test_a_view_goes_on_exactly_after_a_restore_and_is_no_observation():
    recipe = Atari("breakout", views=("grey84",))
    world, other = recipe.world(), recipe.world()
    world.reset(1)
    for _ in range(10):
        world.step(1)
    other.reset(2)
    other.restore(world.snapshot())
    for action in (1, 2, 3, 0, 2):
        ours, theirs = world.step(action)[0], other.step(action)[0]
        np.testing.assert_array_equal(ours["grey84"], theirs["grey84"])
    assert set(recipe.spec().obs) == {"image"}
    with pytest.raises(ConfigError, match="views"):
        Atari("breakout", views=("grey84",), native=True)
    with pytest.raises(ConfigError, match=r"\[\] or \[grey84\]"):
        Atari("breakout", views=("planes",))
