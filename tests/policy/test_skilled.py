"""Agents of mixed skill in one vector env, against each agent alone."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
import torch

pytest.importorskip("minatar", reason="the extra 'minatar' is not installed")

from worldmodels.core.belief import Belief
from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.driver import Driver
from worldmodels.env.minatar import ACTIONS, MinAtar
from worldmodels.env.mixture import Mixture
from worldmodels.policy.scripted import Constant
from worldmodels.policy.skilled import Agent, Skilled
from worldmodels.policy.translated import Translated, in_world, translation

MIXED = Mixture(MinAtar(unify="semantic", actions="full", time_limit=12), ("breakout", "freeway"))


@dataclass(frozen=True)
class Mind(Belief):
    sum: torch.Tensor


class Counting:
    """Chooses by the planes, how many steps it has lived in this episode, and how often it was asked of the lane."""

    extras: dict[str, ArraySpec] = {}  # noqa: RUF012

    def __init__(self, spec: EnvSpec, salt: int) -> None:
        self.size, self.salt, self.asked = spec.action_size, salt, []

    def initial(self, width):
        return Mind(torch.zeros(width, dtype=torch.int64)), {"steps": np.zeros(width, np.int64)}

    def act(self, obs, first, memory, *, explore, rng):
        self.asked.append(len(first))
        total, steps = memory[0].sum, np.where(first, 0, memory[1]["steps"]) + 1
        total = torch.where(torch.from_numpy(first), 0, total) + torch.from_numpy(obs["grid"].sum((1, 2, 3)))
        return (total.numpy() * self.salt + steps) % self.size, (Mind(total), {"steps": steps}), {}


def agents(games=("breakout", "freeway"), each: int = 2) -> list[Agent]:
    specs = {game: MinAtar(game).spec() for game in games}
    return [
        Agent(Counting(spec, salt), spec, 100 * salt, f"{game}:{salt}")
        for game, spec in specs.items()
        for salt in range(1, each + 1)
    ]


def live(policy: Skilled, steps: int = 60, width: int = 8, **how):
    """Blocks of a driver as arrays (N, T), with the planes that were seen."""
    env = MIXED.make(width)
    driver = Driver(env, policy, Rng(0), piece=steps, **how)
    (block,) = [block for _ in range(steps) for block in driver.step()]
    return {name: array[:, :-1] for name, array in block.arrays.items()}


def test_each_episode_is_lived_by_one_agent_of_its_game_as_if_it_were_alone():
    crew = agents()
    seen = live(Skilled(MIXED.spec(), crew))
    over = seen["terminated"] | seen["truncated"]
    drawn = set()
    for lane in range(8):
        game, first, last = ("breakout", "freeway")[lane % 2], True, 0
        for t in range(60):
            skill = int(seen["extras.skill"][lane, t])
            assert first or skill == last, "an agent lives an episode to its end"
            (agent,) = [one for one in crew if one.skill == skill and one.spec.name == f"minatar/{game}"]
            if first:
                memory = Counting(agent.spec, skill // 100).initial(1)
            obs = translation(agent.spec, MIXED.spec(), agent.spec.name).obs({"grid": seen["obs.grid"][lane, [t]]})
            alone = Counting(agent.spec, skill // 100)
            action, memory, _ = alone.act(obs, np.array([first]), memory, explore=False, rng=Rng(0))
            name = agent.spec.action_names[int(action[0])]
            assert ACTIONS[seen["action"][lane, t]] == name
            drawn.add((game, skill))
            first, last = bool(over[lane, t]), skill
    assert drawn == {("breakout", 100), ("breakout", 200), ("freeway", 100), ("freeway", 200)}


def test_lanes_that_drew_the_same_agent_are_asked_for_at_once():
    crew = agents(each=1)
    live(Skilled(MIXED.spec(), crew))
    assert all(set(agent.policy.asked) == {4} for agent in crew)


def asked(policy: Skilled, spec: EnvSpec, width: int, **how):
    """Actions and skills at the first moment of so many episodes of the last world."""
    obs = {name: array.zeros(width) for name, array in spec.shown.items()}
    obs["env_id"] += len(spec.worlds) - 1
    first, how = np.ones(width, bool), {"explore": True, **how}
    action, _, told = policy.act(obs, first, policy.initial(width), rng=Rng(0), **how)
    return action, told["skill"]


def test_agents_are_drawn_equally_often_and_the_same_ones_for_the_same_seed():
    spec = MinAtar("freeway").spec()
    crew = [*agents(("breakout",)), *(Agent(Constant(spec, 1), spec, skill, "up") for skill in range(4))]
    one, other = (asked(Skilled(MIXED.spec(), crew), MIXED.spec(), 4000)[1] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert set(one.tolist()) == {0, 1, 2, 3}
    assert np.abs(np.bincount(one) - 1000).max() < 4 * (4000 * 3 / 16) ** 0.5


def test_an_interrupted_driver_goes_on_with_the_same_agents_and_their_memories():
    def driver():
        return Driver(MIXED.make(4), Skilled(MIXED.spec(), agents(), epsilon=0.2), Rng(0), piece=8)

    def actions(one, steps):
        blocks = [*(block for _ in range(steps) for block in one.step()), *one.flush()]
        return np.concatenate([block.arrays["action"][:, :-1] for block in blocks], 1)

    whole, half, again = driver(), driver(), driver()
    actions(whole, 21)
    actions(half, 21)
    file = io.BytesIO()
    torch.save(half.snapshot(), file)
    again.restore(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    np.testing.assert_array_equal(actions(whole, 60), actions(again, 60))


def test_random_actions_are_those_that_the_agent_has_and_come_as_often_as_asked_for():
    spec = MinAtar("freeway").spec()  # noop, up, down
    crew = [Agent(Constant(spec, 1), spec, 1, "up")]
    mixed = Mixture(MinAtar(actions="full"), ("freeway",)).spec()
    policy = Skilled(mixed, crew, epsilon=0.3)
    chosen = [[ACTIONS[k] for k in asked(policy, mixed, 4000, explore=explore)[0]] for explore in (True, False)]
    assert set(chosen[0]) == {"noop", "up", "down"}
    assert abs(chosen[0].count("up") / 4000 - 0.8) < 4 * (0.16 / 4000) ** 0.5
    assert set(chosen[1]) == {"up"}


def test_a_world_without_agents_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"no agents for minatar/freeway\n.*given are 2 of minatar/breakout"):
        Skilled(MIXED.spec(), agents(("breakout",)))


class Telling(Counting):
    extras = {"certainty": ArraySpec((), "float32")}  # noqa: RUF012

    def act(self, obs, first, memory, *, explore, rng):
        action, memory, _ = super().act(obs, first, memory, explore=explore, rng=rng)
        return action, memory, {"certainty": np.ones(len(first), np.float32)}


def test_a_run_of_the_minimal_game_acts_in_the_unified_one():
    own, world = MinAtar("space_invaders").spec(), MinAtar("space_invaders", unify="pad", actions="full")
    policy = in_world(Telling(own, 3), own, world.spec())
    assert isinstance(policy, Translated)
    driver = Driver(world.make(3), policy, Rng(0), piece=30)
    (block,) = [block for _ in range(30) for block in driver.step()]
    assert {ACTIONS[k] for k in block.arrays["action"][:, :-1].ravel()} <= set(own.action_names)
    assert (block.arrays["extras.certainty"][:, :-1] == 1).all()
    same = Telling(own, 3)
    assert in_world(same, own, own) is same


@pytest.mark.parametrize(
    ("own", "world", "told"),
    [
        (
            MinAtar("asterix"),
            MinAtar("breakout", actions="full", unify="pad"),
            r"it sees grid, planes bool \(10, 10, 4\)",
        ),
        (
            MinAtar("breakout", actions="full"),
            MinAtar("breakout"),
            r"it may choose up, down, fire.*set options that offer them, such as env\.actions=full",
        ),
        (MinAtar("breakout", unify="pad"), MinAtar("freeway", unify="pad"), "it may choose left, right"),
        (MinAtar("breakout"), MinAtar("breakout", unify="categorical"), r"set env\.views=\[planes\]"),
    ],
)
def test_an_agent_that_can_not_see_or_act_is_refused(own, world, told):
    with pytest.raises(SpecError, match=told):
        in_world(Counting(own.spec(), 1), own.spec(), world.spec())
