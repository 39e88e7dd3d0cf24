"""MiniGrid through our eyes: same cells, same pictures, missions kept, snapshots exact."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.env.adapter import as_gymnasium
from worldmodels.env.minigrid import MiniGrid

minigrid = pytest.importorskip("minigrid")

# Doors and keys; things that move by chance; rooms made by chance; a mission that varies; memory.
FAMILIES = [
    "MiniGrid-DoorKey-6x6-v0",
    "MiniGrid-Dynamic-Obstacles-6x6-v0",
    "MiniGrid-MultiRoom-N2-S4-v0",
    "MiniGrid-Fetch-5x5-N2-v0",
    "MiniGrid-MemoryS7-v0",
    "MiniGrid-KeyCorridorS3R2-v0",
]


def walk(world, steps, seed=0):
    """What a world tells of `steps` random steps from here, episodes after episodes."""
    rng, told = np.random.default_rng(seed), []
    for action in rng.integers(world.spec.action_size, size=steps).tolist():
        obs, *rest = world.step(action)
        told.append((obs, rest))
        if rest[1] or rest[2]:
            told.append(world.reset())
    return told


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("full", [False, True])
def test_a_restored_world_goes_on_bit_for_bit(name, full):
    recipe = MiniGrid(name, full=full, time_limit=50)
    world, other = recipe.world(), recipe.world()
    world.reset(4)
    walk(world, 70)
    state = world.snapshot()
    other.reset(123)
    walk(other, 5)
    other.restore(state)
    np.testing.assert_equal(walk(world, 130, seed=1), walk(other, 130, seed=1))


@pytest.mark.parametrize("full", [False, True])
def test_symbols_are_minigrids_own_with_rows_first(full):
    from minigrid.wrappers import FullyObsWrapper

    name = "MiniGrid-RedBlueDoors-6x6-v0"  # wider than high, so that swapped axes show
    world, peer = MiniGrid(name, full=full).world(), gymnasium.make(name)
    peer = FullyObsWrapper(peer) if full else peer
    ours, (theirs, _) = world.reset(2), peer.reset(seed=2)
    for action in np.random.default_rng(0).integers(7, size=100).tolist():
        np.testing.assert_array_equal(ours["symbols"], theirs["image"].transpose(1, 0, 2))
        assert ours["symbols"].shape == world.spec.obs["symbols"].shape
        assert full or ours["direction"].argmax() == theirs["direction"]
        ours, theirs = world.step(action)[0], peer.step(action)[0]


def test_pixels_are_minigrids_own_picture():
    from minigrid.wrappers import RGBImgPartialObsWrapper

    name = "MiniGrid-DoorKey-6x6-v0"
    world = MiniGrid(name, obs="pixels", size=56).world()
    peer = RGBImgPartialObsWrapper(gymnasium.make(name), tile_size=8)
    np.testing.assert_array_equal(world.reset(1)["image"], peer.reset(seed=1)[0]["image"])
    np.testing.assert_array_equal(world.step(2)[0]["image"], peer.step(2)[0]["image"])


def test_full_pixels_fit_any_size():
    world = MiniGrid("MiniGrid-Empty-5x5-v0", obs="pixels", full=True, size=64).world()
    first, turned = world.reset(0)["image"], world.step(0)[0]["image"]
    assert first.shape == (64, 64, 3)
    assert (first != turned).any()


def test_a_mission_that_varies_is_observed_blank_by_blank():
    world, peer = MiniGrid("MiniGrid-Fetch-5x5-N2-v0").world(), gymnasium.make("MiniGrid-Fetch-5x5-N2-v0")
    codes = {}
    for seed in range(25):
        code = world.reset(seed)["mission"]
        assert code.sum() == 3  # which phrase, which colour, which kind
        codes.setdefault(peer.reset(seed=seed)[0]["mission"], set()).add(tuple(code))
    assert all(len(found) == 1 for found in codes.values())
    assert len({code for found in codes.values() for code in found}) == len(codes) > 5


def test_a_mission_that_never_varies_is_left_out_and_free_text_is_refused():
    assert "mission" not in MiniGrid("MiniGrid-DoorKey-5x5-v0").spec().obs
    with pytest.raises(ConfigError, match="mission=ignore"):
        MiniGrid("BabyAI-GoToObj-v0").spec()
    assert "mission" not in MiniGrid("BabyAI-GoToObj-v0", mission="ignore").spec().obs


def test_worlds_in_another_process_are_the_same():
    recipe = MiniGrid("MiniGrid-Fetch-5x5-N2-v0")
    here, there = recipe.make(2), recipe.make(2, workers=1)
    try:
        here.reset([1, 2])
        there.reset([1, 2])
        for action in np.random.default_rng(0).integers(7, size=(60, 2)):
            ours, theirs = here.step(action), there.step(action)
            np.testing.assert_equal(dict(ours.obs), dict(theirs.obs))
            np.testing.assert_array_equal(ours.reward, theirs.reward)
    finally:
        there.close()


def test_the_time_limit_truncates():
    world = MiniGrid("MiniGrid-Empty-8x8-v0", time_limit=9).world()
    world.reset(0)
    assert [world.step(0)[3] for _ in range(9)] == [False] * 8 + [True]


def test_actions_are_named_and_only_those_that_the_world_knows():
    assert MiniGrid("MiniGrid-DoorKey-5x5-v0").spec().action_names[:3] == ("left", "right", "forward")
    assert MiniGrid("MiniGrid-Dynamic-Obstacles-5x5-v0").spec().action_size == 3


@pytest.mark.parametrize(
    ("options", "hint"),
    [({"id": "MiniGrid-Emty-8x8-v0"}, "MiniGrid-Empty-8x8-v0"), ({"obs": "rgb"}, "symbols"), ({"size": 0}, "size")],
)
def test_bad_options_are_refused_with_a_remedy(options, hint):
    with pytest.raises(ConfigError) as caught:
        MiniGrid(**options)
    assert hint in caught.value.do


def test_a_world_whose_pictures_were_not_installed_is_refused_by_their_name(monkeypatch, tmp_path):
    from minigrid.envs.wfc.config import WFC_PRESETS_ALL

    monkeypatch.setattr(WFC_PRESETS_ALL["MazeSimple"], "pattern_path", tmp_path / "SimpleMaze.png")
    with pytest.raises(ConfigError, match=r"SimpleMaze\.png") as caught:
        MiniGrid("MiniGrid-WFC-MazeSimple-v0").world()
    assert "env.id" in caught.value.do


@pytest.mark.parametrize("obs", ["symbols", "pixels"])
def test_it_passes_gymnasiums_own_check(obs):
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(as_gymnasium(MiniGrid("MiniGrid-Fetch-5x5-N2-v0", obs=obs).world()), skip_render_check=True)
