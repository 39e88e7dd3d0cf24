"""Where the time of one Dreamer update goes, at the size of the demo (or of any experiment), on the CPU.

    python benchmarks/dreamer_update.py [--updates 60] [--threads 1] [override ...]

Times are CPU time of the process per update, so that other work on the machine disturbs them little; the last line
says what share of the machine's own matrix-multiply rate the update reaches.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from worldmodels.core.rng import Rng
from worldmodels.data.replay import ReplayStream
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config, make
from worldmodels.stage.behaviour import actor_loss, choose_starts, critic_loss, imagine
from worldmodels.stage.dreamer import Dreamer


class Clock:
    """CPU seconds by part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[name] += time.process_time() - began


def update(stage: Dreamer, optimizer: torch.optim.Optimizer, batches: Iterator[Any], clock: Clock) -> None:
    """One update, its parts timed; the same calls as `Dreamer.losses` and the Trainer make."""
    with clock.part("act, and draw a batch"):
        batch = next(batches)
    with clock.part("world model, forward"):
        learned = stage.look(batch)
    plan = stage.imagination
    with clock.part("dream"):
        starts = choose_starts(learned, plan.starts)
        dreamt = imagine(stage.mind, starts, plan, fading=plan.discount, slow_target=stage.slow.target)
        stage.normaliser.update(dreamt.returns)
    with clock.part("actor and critic, forward"):
        actor, _ = actor_loss(stage.actor, dreamt, plan, stage.normaliser.scale)
        losses = [*learned.losses.values(), actor, critic_loss(stage.mind, dreamt, stage.slow)]
    with clock.part("backward"):
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
    with clock.part("clip, optimizer, slow critic"):
        stage.configure_gradient_clipping(optimizer)
        optimizer.step()
        stage.after_update()


def matmul_rate(size: int = 512, repeats: int = 20) -> float:
    """Floating-point operations per CPU second of a large float32 matrix product."""
    a = torch.randn(size, size)
    best = min(_timed(lambda: a @ a) for _ in range(repeats))
    return 2 * size**3 / best


def _timed(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return max(time.process_time() - began, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    overrides = options.overrides
    if not any("experiment=" in word for word in overrides):
        overrides = ["+experiment=dreamer_minatar", *overrides]
    cfg = config("train", overrides)
    recipe, plan = make(cfg.env), make(cfg.data)
    stage = build_stage(cfg, plan.spec(recipe))
    optimizer = stage.configure_optimizers()
    with tempfile.TemporaryDirectory() as folder:
        stream: ReplayStream = plan.stream(recipe, stage, Path(folder), Rng(0))
        batches, warm, clock = iter(stream), Clock(), Clock()
        for _ in range(5):
            update(stage, optimizer, batches, warm)
        began = time.perf_counter()
        for _ in range(options.updates):
            update(stage, optimizer, batches, clock)
        wall = time.perf_counter() - began
        with FlopCounterMode(display=False) as flops:
            update(stage, optimizer, batches, warm)
        stream.close()
    report(clock, options.updates, wall, flops.get_total_flops())


def report(clock: Clock, updates: int, wall: float, flops: int) -> None:
    total = sum(clock.spent.values())
    print(f"{'part':<30}{'ms':>8}{'share':>8}")
    for name, spent in clock.spent.items():
        print(f"{name:<30}{1000 * spent / updates:>8.1f}{spent / total:>8.0%}")
    rate = matmul_rate()
    print(f"{'an update':<30}{1000 * total / updates:>8.1f}{'100%':>8}   {updates / wall:.1f} updates/s of wall time")
    share = flops * updates / total / rate
    print(f"{flops / 1e9:.2f} GFLOP an update: {share:.0%} of the {rate / 1e9:.0f} GFLOP/s of a matrix product here")


if __name__ == "__main__":
    main()
