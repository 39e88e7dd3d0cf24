"""What is told of a grid is true, at the step on which it is told."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("minigrid")

from worldmodels.core.errors import ConfigError
from worldmodels.env.minigrid import MiniGrid
from worldmodels.env.minigrid_truth import ABSENT, NEVER, OBJECTS, in_view


def played(recipe: MiniGrid, steps: int, seed: int = 0):
    """The world, and what it told at each of some random steps."""
    world = recipe.world()
    world.reset(seed)
    rng = np.random.default_rng(seed)
    for action in rng.choice(min(world.spec.action_size, 6), size=steps, p=[0.2, 0.2, 0.4, 0.1, 0.05, 0.05]).tolist():
        _, _, terminated, truncated, told = world.step(action)
        yield world, told, action
        if terminated or truncated:
            world.reset()


def test_objects_are_numbered_as_minigrid_does():
    from minigrid.core.constants import OBJECT_TO_IDX

    assert {name: number for number, name in enumerate(OBJECTS)} == OBJECT_TO_IDX


def test_nothing_is_told_unless_asked():
    world = MiniGrid("MiniGrid-FourRooms-v0").world()
    world.reset(0)
    assert not world.spec.extras
    assert world.step(2)[4] == {}


def test_the_view_is_what_minigrid_lights_up():
    for world, _, _ in played(MiniGrid("MiniGrid-FourRooms-v0", privileged=True), 60):
        env = world._env
        lit = env.get_full_render(highlight=True, tile_size=4) != env.get_full_render(highlight=False, tile_size=4)
        cells = lit.reshape(env.height, 4, env.width, 4, 3).any((1, 3, 4))
        assert np.array_equal(in_view(env), cells)


def test_what_was_in_view_once_was_seen_until_the_episode_ends():
    world = MiniGrid("MiniGrid-FourRooms-v0", privileged=True).world()
    for seed in (0, 1):
        world.reset(seed)
        seen = in_view(world._env)
        for action in (0, 2, 2, 0, 2, 0, 0):
            told = world.step(action)[4]
            seen = seen | in_view(world._env)
            assert np.array_equal(told["map_seen"][..., 0], seen)


def test_a_goal_that_comes_back_was_never_seen():
    world = MiniGrid("MiniGrid-FourRooms-v0", privileged=True).world()
    world.reset(3)
    grid, goal = world._env.grid, world._truth._goals[0]
    place = grid.grid.index(goal)
    assert world.step(0)[4]["goals_age"] == NEVER
    grid.grid[place] = None
    assert world.step(0)[4]["goals_age"] == ABSENT
    grid.grid[place] = goal
    assert world.step(0)[4]["goals_age"] == NEVER


def test_the_map_is_the_whole_grid_as_it_would_be_seen_without_the_agent():
    recipe = MiniGrid("MiniGrid-DoorKey-6x6-v0", privileged=True, full=True, time_limit=60)
    for world, told, _ in played(recipe, 80, seed=3):
        column, row = world._env.agent_pos
        full = world._symbols(world._env.gen_obs())
        same = (told["map"] == full).all(-1)
        assert not same[row, column]
        same[row, column] = True
        assert same.all()
        x, y = told["agent"][:2] * (world._env.width - 1, world._env.height - 1)
        assert (round(float(x)), round(float(y))) == (column, row)


def test_the_way_to_a_goal_leads_there():
    """From the agent's place, so many cells ahead and so many to the right."""
    clockwise = {(1, 0): (0, 1), (0, 1): (-1, 0), (-1, 0): (0, -1), (0, -1): (1, 0)}
    for world, told, _ in played(MiniGrid("MiniGrid-FourRooms-v0", privileged=True), 60, seed=2):
        ahead, right = told["goal_direction"]
        facing = tuple(int(x) for x in told["agent"][2:])
        step = np.array(world._env.agent_pos) + ahead * np.array(facing) + right * np.array(clockwise[facing])
        column, row = step.astype(int)
        assert told["map"][row, column, 0] == 8  # a goal, as MiniGrid numbers objects
        assert np.array_equal(told["goals_direction"][0], told["goal_direction"])


def test_ages_count_steps_since_a_goal_was_in_view():
    age = NEVER
    ages = set()
    for world, told, _ in played(MiniGrid("MiniGrid-FourRooms-v0", privileged=True, time_limit=500), 200):
        column, row = (np.argwhere(told["map"][..., 0] == 8)[0][::-1]).tolist()
        seen = in_view(world._env)[row, column]
        age = 0 if seen else min(age + 1, NEVER)
        assert told["goals_age"].tolist() == [age]
        ages.add(age)
    assert {0, 1, NEVER} <= ages


def test_what_is_carried_lies_at_hand_and_what_is_not_there_is_absent():
    recipe = MiniGrid("MiniGrid-Fetch-5x5-N2-v0", privileged=True, goals=4, time_limit=400)
    world = recipe.world()
    world.reset(1)
    _, _, _, _, told = world.step(0)
    assert (told["goals_age"] == ABSENT).tolist() == [False, False, True, True]
    assert (told["goals_direction"][2:] == 0).all()
    world._env.carrying = world._truth._goals[1]
    _, _, _, _, told = world.step(0)
    assert told["goals_age"][1] == 0
    assert told["goals_direction"][1].tolist() == [0, 0]


def test_a_restored_world_tells_the_same_as_one_that_went_on():
    recipe = MiniGrid("MiniGrid-MultiRoom-N2-S4-v0", privileged=True, goals=2, time_limit=50)
    world, other = recipe.world(), recipe.world()
    world.reset(4)
    rng = np.random.default_rng(0)
    for action in rng.integers(3, size=30).tolist():
        world.step(action)
    other.reset(9)
    other.restore(world.snapshot())
    for action in rng.integers(3, size=15).tolist():
        np.testing.assert_equal(world.step(action), other.step(action))


def test_no_goals_are_refused():
    with pytest.raises(ConfigError, match="goals=0"):
        MiniGrid(goals=0)
