"""The check finds every fault that a world of one's own tends to have, and none in ours."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
import pytest

from worldmodels.core.spec import ArraySpec
from worldmodels.env.atari import Atari
from worldmodels.env.check import examine
from worldmodels.env.dummy import Dummy
from worldmodels.env.gymnasium import Gymnasium
from worldmodels.env.minatar import MinAtar
from worldmodels.env.template import Mine, MyWorld


def errors(recipe, **options):
    return {finding.check: finding for finding in examine(recipe, **options) if finding.level == "error"}


def warnings_of(recipe, **options):
    return {finding.check: finding for finding in examine(recipe, **options) if finding.level == "warning"}


@pytest.mark.parametrize(
    "recipe",
    [
        Mine(),
        *(Dummy(game) for game in ("corridor", "bandit", "dot")),
        Dummy(continuous=True),
        Gymnasium("CartPole-v1"),
    ],
    ids=lambda recipe: type(recipe).__name__ + getattr(recipe, "game", ""),
)
def test_our_worlds_have_no_fault(recipe):
    assert [finding for finding in examine(recipe) if finding.level != "ok"] == []


@pytest.mark.parametrize("game", ["breakout", "freeway"])
def test_minatar_has_no_fault(game):
    if find_spec("minatar") is None:  # importing it would load matplotlib
        pytest.skip("minatar is not installed")
    assert errors(MinAtar(game)) == {}


class WrongDtype(MyWorld):
    def see(self):
        return {"vector": super().see()["vector"].astype(np.float64)}


class WrongAfterTheFirst(MyWorld):
    """Its first observation fits: a check of reset() alone would not see the fault."""

    def see(self):
        vector = super().see()["vector"]
        return {"vector": vector if self.steps == 0 else vector[1:]}


class Undeclared(MyWorld):
    def see(self):
        return {**super().see(), "more": np.zeros(3)}


class ResetsItself(MyWorld):
    def step(self, action):
        obs, reward, terminated, truncated, extras = super().step(action)
        if terminated or truncated:
            obs = self.reset()
        return obs, reward, terminated, truncated, extras

    def reset(self, seed=None):
        super().reset(seed)
        self.treasure = 3
        return self.see()


class ResetsItselfSomewhere(MyWorld):
    """As above, but no two episodes begin alike."""

    def step(self, action):
        obs, reward, terminated, truncated, extras = super().step(action)
        return self.reset() if terminated or truncated else obs, reward, terminated, truncated, extras


class GlobalChance(MyWorld):
    def reset(self, seed=None):
        super().reset(seed)
        self.treasure = int(np.random.default_rng().integers(1, self.cells))
        return self.see()


class ForgetsToRestart(MyWorld):
    """Ignores every seed but the first."""

    seeded = False

    def reset(self, seed=None):
        obs = super().reset(None if self.seeded else seed)
        self.seeded = True
        return obs


class ForgetsItsGenerator(MyWorld):
    def snapshot(self):
        return {"place": self.place, "treasure": self.treasure, "steps": self.steps}

    def restore(self, state):
        self.place, self.treasure, self.steps = state["place"], state["treasure"], state["steps"]


class PickledSnapshot(MyWorld):
    def snapshot(self):
        return {"rng": self.rng}


class InfiniteReward(MyWorld):
    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, float("inf"), *rest


class NumberForAFlag(MyWorld):
    def step(self, action):
        obs, reward, terminated, *rest = super().step(action)
        return obs, reward, int(terminated), *rest


@pytest.mark.parametrize(
    ("world", "check", "found"),
    [
        (WrongDtype, "shapes", "is float64"),
        (WrongAfterTheFirst, "shapes", "is float32 (15,) at step 1"),
        (Undeclared, "shapes", "'more'] is returned but not declared"),
        (ResetsItself, "final obs", "equals the next episode's first"),
        (GlobalChance, "seeds", "in two worlds"),
        (ForgetsToRestart, "seeds", "has lived before"),
        (ForgetsItsGenerator, "snapshot", "goes another way"),
        (PickledSnapshot, "snapshot", "not plain data"),
        (InfiniteReward, "rewards", "not a finite number"),
        (NumberForAFlag, "flags", "int"),
    ],
)
def test_a_fault_is_an_error_with_a_remedy(world, check, found):
    @dataclass(frozen=True)
    class Recipe(Mine):
        def world(self):
            return world(self)

    finding = errors(Recipe())[check]
    assert found in finding.found
    assert finding.do


def test_a_recipe_that_can_not_travel_is_an_error():
    @dataclass(frozen=True)
    class Recipe(Mine):  # a local class can not be pickled
        pass

    assert set(errors(Recipe())) == {"workers"}


class Endless(MyWorld):
    def step(self, action):
        obs, *_ = super().step(action)
        self.steps = 0
        return obs, 0.0, False, False, {}


class Slow(MyWorld):
    def step(self, action):
        time.sleep(0.006)
        return super().step(action)


class Fleeting(MyWorld):
    resumable = False


class Dark(MyWorld):
    """An image whose values reach 1 where 255 is meant, and a vector far from 1."""

    def __init__(self, recipe):
        super().__init__(recipe)
        obs = {"image": ArraySpec((4, 4, 3), "uint8", "image"), "far": ArraySpec((2,), "float32")}
        self.spec = replace(self.spec, obs=obs)

    def see(self):
        image = np.zeros((4, 4, 3), np.uint8)
        image[0, self.place % 4] = 1
        return {"image": image, "far": np.array([self.place * 1e4, 0], np.float32)}


class Flat(MyWorld):
    """One row of planes, over which no kernel fits."""

    def __init__(self, recipe):
        super().__init__(recipe)
        self.spec = replace(self.spec, obs={"planes": ArraySpec((1, 8, 2), "bool", "planes")})

    def see(self):
        planes = self.spec.obs["planes"].zeros()
        planes[0, self.place, 0] = planes[0, self.treasure, 1] = True
        return {"planes": planes}


@pytest.mark.parametrize(
    ("world", "check", "steps"),
    [
        (Endless, "episodes", 100),
        (Endless, "rewards", 100),
        (Slow, "speed", 20),
        (Fleeting, "snapshot", 100),
        (ResetsItselfSomewhere, "final obs", 300),
        (Dark, "values", 100),
        (Flat, "values", 100),
    ],
)
def test_what_works_badly_is_a_warning_with_a_remedy(world, check, steps):
    @dataclass(frozen=True)
    class Recipe(Mine):
        def world(self):
            return world(self)

    assert warnings_of(Recipe(), steps=steps)[check].do


def test_symbols_beyond_their_classes_are_an_error():
    class Loud(MyWorld):
        def __init__(self, recipe):
            super().__init__(recipe)
            self.spec = replace(self.spec, obs={"symbols": ArraySpec((1, 1, 1), "uint8", "symbols", (3,))})

        def see(self):
            return {"symbols": np.full((1, 1, 1), self.place, np.uint8)}

    @dataclass(frozen=True)
    class Recipe(Mine):
        def world(self):
            return Loud(self)

    assert "classes" in errors(Recipe())["shapes"].found


def test_a_recipe_whose_spec_is_not_the_worlds_is_an_error():
    @dataclass(frozen=True)
    class Recipe(Mine):
        def spec(self):
            return replace(super().spec(), action_size=3, action_names=())

    assert "3 choices" in errors(Recipe())["vector"].found


def test_an_env_that_tells_less_than_its_world_is_no_fault():
    pytest.importorskip("ale_py")
    assert errors(Atari(obs="grey16", stack=1, native=True), steps=40) == {}
