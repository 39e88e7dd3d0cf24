"""What recording costs: env steps/s of a bare vector env and of the Recorder, random actions, in one run.

    python benchmarks/recorder.py [--games minatar/breakout procgen/coinrun ...] [--folder /tmp]

Both loops step the same env through the same lives, by the same policy and seeds (some levels of procgen cost a third
more than others), so that what differs is the driver, the recorder and the store. They take turns, and the best of
their repetitions count, because other work on the machine can only slow them down. The last two ratios compare CPU
time per env step: of the thread that steps the env (what the first ratio comes to on an idle machine, as far as
writing needs no interpreter), and of the whole process. With `--folder /dev/shm` no disk is in it.

`gymnasium/s` is what stepping alone costs those who use MinAtar without us: its own package's environment, registered
with Gymnasium, as many of them in `gymnasium.vector.SyncVectorEnv`, random actions, nothing kept. Procgen has none.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np

from worldmodels.core.protocols import Env
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.data.recorder import Recorder
from worldmodels.data.store import EpisodeStore
from worldmodels.env.minatar import MinAtar
from worldmodels.env.procgen import Procgen
from worldmodels.policy.scripted import Random

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
DEFAULT = [f"minatar/{game}" for game in GAMES] + ["procgen/coinrun"]


class Speed(NamedTuple):
    """Of one repetition."""

    steps_per_second: float
    thread_per_step: float  # CPU seconds of the thread that steps the env
    process_per_step: float  # CPU seconds


def make(name: str) -> Env:
    """MinAtar x16 or procgen x64."""
    suite, game = name.split("/")
    return MinAtar(game=game).make(16) if suite == "minatar" else Procgen(game=game).make(64)


class Foreign:
    """The same game of the minatar package in Gymnasium's vector env, random actions drawn at once for all."""

    def __init__(self, name: str, width: int) -> None:
        from minatar.gym import register_envs

        identity = f"MinAtar/{name.title().replace('_', '')}-v1"
        if identity not in gymnasium.registry:
            register_envs()
        # As ours: minimal actions, of which one in ten is repeated. Gymnasium's checker of new envs is left out.
        made = [lambda: gymnasium.make(identity, disable_env_checker=True)] * width
        self.env = gymnasium.vector.SyncVectorEnv(made)
        self.env.reset(seed=0)

    def speed(self, steps: int) -> Speed:
        width, count = self.env.num_envs, self.env.single_action_space.n
        rng = np.random.default_rng(0)

        def run() -> None:
            for _ in range(steps // width):
                self.env.step(rng.integers(count, size=width))

        return timed(steps, run)


def timed(steps: int, run: Callable[[], None]) -> Speed:
    wall, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
    run()
    return Speed(
        steps / (time.perf_counter() - wall),
        (time.thread_time() - thread) / steps,
        (time.process_time() - process) / steps,
    )


def bare(env: Env, steps: int) -> Speed:
    """The shortest loop: the policy acts, the env steps, nothing is kept."""
    policy, rng, first = Random(env.spec), Rng(0, "benchmark").child("from", 0), np.ones(env.width, bool)
    obs = env.reset(rng.numpy.integers(1 << 31, size=env.width).tolist())  # as the driver: the worlds live the same

    def run() -> None:
        for _ in range(steps // env.width):
            action, _, _ = policy.act(obs, first, None, explore=True, rng=rng)
            env.step(action)

    return timed(steps, run)


def recorded(env: Env, steps: int, place: str | None) -> tuple[Speed, int, int]:
    """Through driver and recorder into a store in a folder there; its episodes and bytes."""
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        EpisodeStore.create(Path(folder) / "store", env.spec) as store,
    ):
        recorder = Recorder(Driver(env, Random(env.spec), Rng(0, "benchmark")), store)
        recorder.record(steps=env.width)  # starts the worlds
        speed = timed(steps - env.width, lambda: recorder.record(steps=steps) and None)
        used = sum(path.stat().st_blocks * 512 for path in Path(folder, "store").iterdir())
        return speed, len(store), used


def compare(name: str, seconds: float, repeats: int, place: str | None) -> None:
    """One line of the table."""
    env = make(name)
    chunk = env.width * 64
    steps = max(int(bare(env, chunk).steps_per_second * seconds) // chunk, 2) * chunk
    plain, ours, theirs, episodes, used = list[Speed](), list[Speed](), list[Speed](), 0, 0
    suite, game = name.split("/")
    foreign = Foreign(game, env.width) if suite == "minatar" else None
    for _ in range(repeats):
        if foreign is not None:
            theirs.append(foreign.speed(steps // 4))  # some repetitions of a slower loop are enough
        plain.append(bare(env, steps))
        speed, episodes, used = recorded(env, steps, place)
        ours.append(speed)
    env.close()
    fast, slow = (max(x.steps_per_second for x in runs) for runs in (plain, ours))
    thread, process = (min(x[i] for x in plain) / min(x[i] for x in ours) for i in (1, 2))
    peer = f"{max(x.steps_per_second for x in theirs):12.0f}" if theirs else f"{'none':>12}"
    print(
        f"{name:24} x{env.width:<3} {steps:9} {steps / episodes:9.0f} {peer} {fast:12.0f} {slow:12.0f} "
        f"{slow / fast:7.2f} {thread:7.2f} {process:8.2f} {used / 2**20:6.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=DEFAULT)
    parser.add_argument("--seconds", type=float, default=2.0, help="of bare stepping per repetition")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", default=None, help="where to put the stores; default: the temporary folder")
    options = parser.parse_args()
    titles = ("steps", "steps/ep", "gymnasium/s", "bare/s", "recorded/s", "ratio", "thread", "process", "MiB")
    widths = (9, 9, 12, 12, 12, 7, 7, 8, 6)
    print(f"{'env':28}", *(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True)))
    for name in options.games:
        compare(name, options.seconds, options.repeats, options.folder)


if __name__ == "__main__":
    main()
