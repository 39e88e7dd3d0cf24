"""Plays a world at random and says what is wrong with it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from worldmodels.core.errors import UserError, WorkerError
from worldmodels.core.protocols import World
from worldmodels.core.spec import EnvSpec, describe, describe_action
from worldmodels.env.conform import misfits, oddities, seen_as
from worldmodels.env.recipe import Recipe
from worldmodels.env.trial import Played, difference, equal, play, random_actions

SLOW = 200.0  # steps per second: below this, acting takes longer than learning


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Literal["ok", "warning", "error"]
    check: str
    found: str
    do: str = ""


def examine(recipe: Recipe, *, steps: int = 300, seed: int = 0, workers: bool = False) -> list[Finding]:
    """Everything there is to say about a world, in the order in which it should be mended.

    Takes about five times `steps` steps. With `workers`, a subprocess is started too, for seconds. An error of the
    world's own code is not caught: its traceback says most.
    """
    world = recipe.world()
    findings = [_spec(world.spec)]
    try:
        actions = random_actions(world.spec, steps, seed)
        played = play(world, actions, seed)
        shapes = list(_shapes(world.spec, played))
        findings += shapes
        fits = all(finding.level == "ok" for finding in shapes)
        if fits:
            findings += [Finding("warning", "values", found, do) for found, do in oddities(world.spec.obs, played.seen)]
        findings += [*_rewards(played), *_episodes(played), _final(played)]
        findings += [*_seeds(recipe, world, actions, played, seed), *_snapshot(recipe, world, actions, seed)]
        if fits:  # the buffers of a vector env take nothing else
            findings += [*_vector(recipe, world, steps, seed), _travel(recipe, world.spec, workers)]
        findings += [_speed(played), *_encoder(world.spec)]
    except UserError as error:
        findings.append(Finding("error", "contract", f"{error.found}; expected {error.expected}", error.do))
    finally:
        world.close()
    return findings


def _spec(spec: EnvSpec) -> Finding:
    names = f" ({', '.join(spec.action_names)})" if spec.action_names else ""
    return Finding("ok", "actions", f"{spec.name}: {describe_action(spec)}{names}")


def _shapes(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    wrong = [*misfits(spec.shown, played.seen, "obs"), *misfits(spec.extras, played.extras, "extras")]
    for found in wrong:
        yield Finding("error", "shapes", found, "return what the spec declares, or declare what is returned")
    if not wrong:
        yield Finding("ok", "shapes", "; ".join(f"{name}: {describe(one)}" for name, one in spec.shown.items()))


def _rewards(played: Played) -> Iterator[Finding]:
    rewards = [reward for reward, _, _ in played.outcomes]
    flags = {type(flag).__name__ for _, *both in played.outcomes for flag in both}
    if not flags <= {"bool", "bool_"}:
        do = "return True or False; terminated: the world ended it, truncated: a clock did"
        yield Finding("error", "flags", f"terminated and truncated are {', '.join(sorted(flags))}", do)
    if not all(np.ndim(reward) == 0 and np.isfinite(reward) for reward in rewards):
        yield Finding("error", "rewards", "a reward is not a finite number", "return one float per step")
    elif not any(rewards):
        do = "fine if rewards are rare; otherwise check the world, or take more --steps"
        yield Finding("warning", "rewards", f"all of {len(rewards)} rewards are 0", do)
    else:
        low, high = min(rewards), max(rewards)
        yield Finding("ok", "rewards", f"from {low:.3g} to {high:.3g}" if low < high else f"always {low:.3g}")


def _episodes(played: Played) -> Iterator[Finding]:
    steps = len(played.outcomes)
    if not played.ends:
        do = "give the world a time limit if episodes can last for ever, or take more --steps"
        yield Finding("warning", "episodes", f"none ended in {steps} steps", do)
        return
    died = sum(bool(terminated) for _, terminated, _ in played.outcomes)
    yield Finding("ok", "episodes", f"{len(played.ends)} ended in {steps} steps, {died} of them terminated")
    if any(terminated and truncated for _, terminated, truncated in played.outcomes):
        do = "terminated alone, if the world ended it: nothing is bootstrapped then"
        yield Finding("warning", "episodes", "a step is both terminated and truncated", do)


def _final(played: Played) -> Finding:
    count, firsts = len(played.ends), [first for _, first in played.ends]
    do = "return from step() where the action led; leave the reset to reset()"
    if not count:
        return Finding("ok", "final obs", "not seen: no episode ended")
    if all(equal(last, first) for last, first in played.ends):
        return Finding("error", "final obs", f"equals the next episode's first, in {count} of {count} episodes", do)
    if count > 2 and all(any(equal(last, first) for first in firsts) for last, _ in played.ends):
        return Finding("warning", "final obs", "always looks like the first of some episode", do)
    return Finding("ok", "final obs", "the last observation of an episode is its own")


def _seeds(recipe: Recipe, world: World, actions: Sequence[Any], played: Played, seed: int) -> Iterator[Finding]:
    do = "draw all randomness from one generator that reset(seed) makes anew; no global random, no clock, no set order"
    fresh = _with(recipe, lambda other: play(other, actions, seed))
    apart = difference(played, fresh)
    if apart:
        yield Finding("error", "seeds", f"same seed and actions in two worlds: {apart}", do)
        return
    apart = difference(played, play(world, actions, seed))
    if apart:
        yield Finding("error", "seeds", f"reset(seed) in a world that has lived before: {apart}", do)
        return
    varies = bool(difference(played, _with(recipe, lambda other: play(other, actions, seed + 1))))
    note = "another seed brings another" if varies else "other seeds bring the same: the world knows no chance"
    yield Finding("ok", "seeds", f"the same seed brings the same episodes, {note}")


def _with(recipe: Recipe, use: Callable[[World], Any]) -> Any:
    world = recipe.world()
    try:
        return use(world)
    finally:
        world.close()


def _snapshot(recipe: Recipe, world: World, actions: Sequence[Any], seed: int) -> Iterator[Finding]:
    if not world.resumable:
        do = "write snapshot() and restore(state), and set resumable = True, to resume runs exactly"
        yield Finding("warning", "snapshot", "the world can not save itself: runs resume at the next episode", do)
        return
    half = len(actions) // 2
    play(world, actions[:half], seed)
    file = io.BytesIO()
    torch.save(world.snapshot(), file)
    file.seek(0)
    try:
        state = torch.load(file, weights_only=True)
    except pickle.UnpicklingError as error:
        found = str(error).strip().splitlines()[0]
        yield Finding("error", "snapshot", f"not plain data: {found}", "wrap it in core.snapshot.freeze and thaw")
        return
    ours = play(world, actions[half:], None)

    def follow(other: World) -> Played:
        play(other, actions[:3], seed + 2)
        other.restore(state)
        return play(other, actions[half:], None)

    apart = difference(ours, _with(recipe, follow))
    if apart:
        do = "save all that changes, generators included; and do not hand out arrays that change later"
        yield Finding("error", "snapshot", f"a restored world goes another way: {apart}", do)
    else:
        yield Finding("ok", "snapshot", f"a restored world goes on equally for {len(actions) - half} steps")


def _vector(recipe: Recipe, world: World, steps: int, seed: int) -> Iterator[Finding]:
    """Two worlds as one: what a learner will really get."""
    env, ended, same = recipe.make(2), 0, 0
    if recipe.spec() != env.spec:
        differences = "; ".join(recipe.spec().differences(env.spec)) or "its name, extras, or whether actions are named"
        yield Finding("error", "vector", f"recipe.spec() is not the world's: {differences}", "declare it in one place")
    try:
        env.reset([seed, seed + 1])
        for action in zip(*(random_actions(world.spec, steps, n) for n in range(2)), strict=True):
            step = env.step(np.asarray(action))
            for n in np.flatnonzero(step.terminated | step.truncated):
                ended += 1
                same += all(np.array_equal(step.arrived[name][n], step.obs[name][n]) for name in world.spec.obs)
    finally:
        env.close()
    if world.resumable and not env.resumable:
        yield Finding("warning", "vector", "it can not save itself, though one world can", "see the options of the env")
    if ended and same == ended:
        do = "let Step.arrived be where the action led, and Step.obs the next episode's first"
        yield Finding("error", "vector", f"no final observation in {ended} episodes", do)
    else:
        yield Finding("ok", "vector", "two worlds step as one, and begin anew by themselves")


def _travel(recipe: Recipe, spec: EnvSpec, workers: bool) -> Finding:
    do = "let the recipe hold plain options only; make and import everything else in world()"
    try:
        pickle.dumps(recipe)
        if workers:
            env = recipe.make(1, workers=1)
            env.reset([0])
            env.step(np.asarray(random_actions(spec, 1, 0)))
            env.close()
    except (pickle.PicklingError, TypeError, AttributeError, WorkerError) as error:
        found = str(error).strip().splitlines()[-1]
        return Finding("error", "workers", f"the recipe can not travel to a subprocess: {found}", do)
    return Finding("ok", "workers", "a world in a subprocess works" if workers else "the recipe can be pickled")


def _speed(played: Played) -> Finding:
    pace = len(played.outcomes) / max(played.seconds, 1e-9)
    seconds = 1e6 / pace
    duration = f"{seconds:.1f} seconds" if seconds < 60 else f"{seconds / 60:,.1f} minutes"
    found = f"{pace:,.0f} steps/s in one process: {duration} for a million"
    if pace < SLOW:
        return Finding("warning", "speed", found, "spread worlds over subprocesses (workers), or profile step()")
    return Finding("ok", "speed", found)


def _encoder(spec: EnvSpec) -> Iterator[Finding]:
    for name, one in spec.obs.items():
        yield Finding("ok", "encoder", f"{name}: {seen_as(one)}")
