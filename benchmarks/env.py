"""Steps per second of bare vector envs under random actions: `python benchmarks/env.py [--steps 20000]`.

Two clocks: per CPU-second of this process (what one quiet core gives) and per second on the wall (the only fair one
for subprocesses). The first column is the games' own loop, without any of our code, where there is one.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from worldmodels.env.minatar import GAMES, MinAtar, _engine
from worldmodels.env.procgen import Procgen
from worldmodels.env.recipe import Recipe

ROW = "{:<28}{:>8}{:>14}{:>14}{:>14}"


def rate(step, actions: np.ndarray) -> tuple[float, float]:
    """World steps per CPU-second and per second, the better of two passes."""
    best = (0.0, 0.0)
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        for action in actions:
            step(action)
        spent = time.process_time() - cpu, time.perf_counter() - wall
        best = max(best, (actions.size / spent[0], actions.size / spent[1]))
    return best


def ours(recipe: Recipe, width: int, workers: int, steps: int) -> tuple[float, float]:
    env = recipe.make(width, workers)
    env.reset(range(width))
    actions = np.random.default_rng(0).integers(env.spec.action_size, size=(steps // width, width))
    result = rate(env.step, actions)
    env.close()
    return result


def bare_minatar(game: str, steps: int) -> float:
    """One game's act, state and reset in a loop, without sticky actions."""
    world = _engine(game).Env()
    moves = world.minimal_action_set()

    def step(action: np.ndarray) -> None:
        _, ended = world.act(moves[action])
        world.state()
        if ended:
            world.reset()

    return rate(step, np.random.default_rng(0).integers(len(moves), size=steps))[0]


def bare_procgen(game: str, width: int, steps: int) -> float:
    engine = Procgen(game).engine(width)

    def step(action: np.ndarray) -> None:
        engine.act(action)
        engine.observe()

    return rate(step, np.random.default_rng(0).integers(15, size=(steps // width, width)))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="world steps per row")
    steps = parser.parse_args().steps
    print(ROW.format("env", "workers", "bare/cpu-s", "ours/cpu-s", "ours/s"))
    for game in GAMES:
        bare = bare_minatar(game, steps)
        for workers in (0, 2):
            cpu, wall = ours(MinAtar(game), 16, workers, steps)
            own = [f"{bare:,.0f}", f"{cpu:,.0f}"] if workers == 0 else ["", ""]
            print(ROW.format(f"minatar {game} x16", workers, *own, f"{wall:,.0f}"))
    for game in ("coinrun", "caveflyer"):
        cpu, wall = ours(Procgen(game), 64, 0, steps)
        bare = bare_procgen(game, 64, steps)
        print(ROW.format(f"procgen {game} x64", 0, f"{bare:,.0f}", f"{cpu:,.0f}", f"{wall:,.0f}"))


if __name__ == "__main__":
    main()
