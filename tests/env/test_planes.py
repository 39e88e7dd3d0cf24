"""MinAtar shown alike: what is kept, what is lost, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("minatar", reason="the extra 'minatar' is not installed")

from worldmodels.core.errors import ConfigError
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.env.adapter import as_gymnasium
from worldmodels.env.minatar import MinAtar, _engine
from worldmodels.env.planes import GAMES, MEANING, MEANINGS, reader
from worldmodels.policy.scripted import Random


def seen(recipe: MinAtar, steps: int = 400) -> list[dict[str, np.ndarray]]:
    """What a world shows over some episodes of random play, always the same."""
    world, moves = recipe.world(), np.random.default_rng(0).integers(6, size=steps).tolist()
    shown = [world.reset(3)]
    for move in moves:
        obs, _, terminated, truncated, _ = world.step(move)
        shown.append(obs)
        if terminated or truncated:
            shown.append(world.reset())
    return shown


@pytest.mark.parametrize("game", GAMES)
def test_planes_have_the_names_and_the_order_of_the_game_itself(game):
    assert list(MEANING[game]) == list(_engine(game).Env().channels)
    meanings = list(MEANING[game].values())
    assert len(set(meanings)) == len(meanings), "two planes of one game would become one"


@pytest.mark.parametrize("views", [(), ("planes",)])
@pytest.mark.parametrize("unify", ["none", "pad", "semantic"])
@pytest.mark.parametrize("game", GAMES)
def test_the_games_own_planes_are_read_off_the_unified_ones(game, unify, views):
    recipe = MinAtar(game, actions="full", unify=unify, views=views)
    read = reader(game, recipe.spec().shown)
    for plain, unified in zip(seen(MinAtar(game, actions="full")), seen(recipe), strict=True):
        np.testing.assert_array_equal(read(unified), plain["grid"])
        assert unified["grid"].sum() == plain["grid"].sum(), "nothing but the game's planes is set"


@pytest.mark.parametrize("game", GAMES)
def test_a_symbol_is_the_first_plane_that_is_set(game):
    recipe = MinAtar(game, actions="full", unify="categorical")
    for plain, unified in zip(seen(MinAtar(game, actions="full")), seen(recipe), strict=True):
        for row in range(10):
            for column in range(10):
                planes = np.flatnonzero(plain["grid"][row, column])
                assert unified["grid"][row, column, 0] == (planes[0] + 1 if len(planes) else 0)


def test_symbols_alone_do_not_tell_the_planes_but_a_view_beside_them_does():
    with pytest.raises(ConfigError, match=r"views=\[planes\]"):
        reader("breakout", MinAtar("breakout", unify="categorical").spec().shown)
    recipe = MinAtar("space_invaders", actions="full", unify="categorical", views=("planes",))
    read = reader("space_invaders", recipe.spec().shown)
    for plain, unified in zip(seen(MinAtar("space_invaders", actions="full")), seen(recipe), strict=True):
        np.testing.assert_array_equal(read(unified), plain["grid"])


def test_what_means_the_same_lies_on_the_same_plane_in_all_games():
    for game in GAMES:
        frames = np.array([obs["grid"] for obs in seen(MinAtar(game, actions="full", unify="semantic"))])
        assert (frames[..., MEANINGS.index("player")].sum((1, 2)) == 1).all()
    aliens = np.array([obs["grid"] for obs in seen(MinAtar("space_invaders", actions="full", unify="semantic"))])
    left, right = (aliens[..., MEANINGS.index(f"moves_{way}")] for way in ("left", "right"))
    np.testing.assert_array_equal(left | right, aliens[..., MEANINGS.index("shooter")])


@pytest.mark.parametrize("unify", ["pad", "categorical", "semantic"])
def test_all_games_look_alike_once_they_are_unified(unify):
    specs = [MinAtar(game, unify=unify, actions="full", game_id=True).spec() for game in GAMES]
    assert not any(specs[0].differences(spec) for spec in specs)
    for place, game in enumerate(GAMES):
        told = MinAtar(game, unify=unify, game_id=True).world().reset(0)["game"]
        np.testing.assert_array_equal(told, np.eye(5, dtype=np.float32)[place])


def test_a_view_is_shown_and_not_stored():
    env = MinAtar("breakout", views=("planes",)).make(2)
    driver = Driver(env, Random(env.spec), Rng(0), piece=8)
    (block,) = [block for _ in range(8) for block in driver.step()]
    assert set(block.arrays) == {"obs.grid", "action", "reward", "terminated", "truncated"}
    assert set(env.reset([0, 1])) == {"grid", "planes"}


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("views", [(), ("planes",)])
def test_every_game_is_a_gymnasium_environment_without_being_registered(game, views):
    env = as_gymnasium(MinAtar(game, actions="full", unify="pad", views=views).world())
    check_env(env, skip_render_check=True)
    for action in range(6):
        assert env.observation_space.contains(env.step(action)[0])


def test_a_view_that_the_game_does_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"\[\] or \[planes\]"):
        MinAtar(views=["grey84"])
