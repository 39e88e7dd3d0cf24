"""Gradient updates of Dreamer on the CPU: ours beside those of sheeprl, at equal sizes.

    python benchmarks/dreamer.py [--sizes v3-small v2-small v3-12M v2-12M demo] [--peer <python>] [--rounds 5]

`--peer` is the Python of an environment of sheeprl's own, where the peer is run and timed:

    python3.11 -m venv <folder>
    <folder>/bin/pip install torch==2.13.0
    <folder>/bin/pip install 'sheeprl[atari]==0.8.4'

Both sides take whole updates (losses of world model, actor and critic, backward, clipping, optimizers, slow critic) on
the same made-up batch, in turns, each in a process of its own. Numbers are medians over the rounds. CPU time is what
other work on the machine disturbs least; with `--threads 2` it is wall time that counts.

`small` is sheeprl's own CPU benchmark: 8-wide networks, B=16, T=64, for V2 50. `12M` is DreamerV3's size, and about as
many parameters for V2, at B=16, T=64. All look at pictures of 64 x 64 x 3, have 6 actions, and dream 15 steps from
every moment. `demo` is the update of `make demo`, and has no peer.

Ours keeps freed memory, as our runner does (`core/allocator.py`); `--plain` does without, `--peer-keeps` gives the
peer the same by its environment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from worldmodels.core.allocator import keep_freed_memory
from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config

ACTIONS = 6  # as in sheeprl_update.py
PARTS = ("encoder", "recurrence", "decoder", "reward", "continue", "actor", "critic")


@dataclass(frozen=True)
class Size:
    """One update in our words and in sheeprl's."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...] = ()
    observations: int = 64
    width: int = 16
    demo: bool = False  # MinAtar's observations


ALL = ("stage.imagination.starts=all", "stage.imagination.horizon=15")
NARROW = (
    "model.encoder.depth=2",
    "model.recurrence={deter:8,stoch:4,classes:4,hidden:8,gru:dv2,prior_layers:1}",
    "model.reward={units:8,layers:1}",
    "model.cont={units:8,layers:1}",
    "stage.actor.layers=1",
    "stage.critic.layers=1",
)
V2 = (
    "model=dreamerv2",
    "stage.actor={layers:4,unimix:0.0,activation:elu}",
    "stage.critic={head:mse,layers:4,activation:elu}",
    "stage.loss={kl_balance:0.8,free_bits:1.0}",
    "stage.slow_critic={target:true,reg:0.0,every:100,rate:1.0}",
    "stage.imagination={return_norm:false,discount:0.99,entropy:1e-4}",
    *ALL,
)
SIZES = {
    "v3-small": Size(
        ("model.norm=layer", "model.encoder.style=stride", "model.decoder.blocks=0", *NARROW, *ALL),
        ("exp=dreamer_v3_benchmarks",),
    ),
    "v2-small": Size(
        (*V2, *NARROW), ("exp=dreamer_v2_benchmarks", "algo.world_model.use_continues=True"), observations=50
    ),
    "v3-12M": Size(
        (
            "stage.optim={kind:laprop,lr:4e-5,agc:0.3,clip:null,eps:1e-20,warmup:1000}",
            "stage.loss.contdisc=0.997",
            "stage.repval.scale=0.3",
            *ALL,
        ),
        ("exp=dreamer_v3_5", "algo=dreamer_v3_5_12M", "algo.replay_context=0"),
    ),
    "v2-12M": Size(
        (*V2, "model.encoder.depth=24", "stage.actor.units=400", "stage.critic.units=400"),
        (
            "exp=dreamer_v2",
            "algo.world_model.use_continues=True",
            "algo.world_model.encoder.cnn_channels_multiplier=24",
        ),
    ),
    "demo": Size(("+experiment=dreamer_minatar",), observations=13, width=32, demo=True),
}


@dataclass
class Side(ABC):
    """Who takes updates, and how long each took, in CPU and wall seconds."""

    name: str
    parameters: dict[str, int]
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def take(self, updates: int) -> None:
        cpu, wall = self.timed(updates)
        self.cpu.append(cpu / updates)
        self.wall.append(wall / updates)

    @abstractmethod
    def timed(self, updates: int) -> tuple[float, float]:
        """Take updates; the CPU and wall seconds of all of them."""


class Ours(Side):
    """Our updates on one batch."""

    def __init__(self, size: Size, made: dict[str, np.ndarray]) -> None:
        cfg = config("train", size.ours)
        torch.manual_seed(0)
        self.stage: Any = build_stage(cfg, spec(size))
        self.optimizer, self.batch = self.stage.configure_optimizers(), batch(size, made)
        model = self.stage.model
        heads = (model.heads.reward, model.heads.cont, self.stage.actor, self.stage.critic)
        parts = zip(PARTS, (model.encoder, model.rssm, model.decoder, *heads), strict=True)
        super().__init__("ours", {name: sum(p.numel() for p in part.parameters()) for name, part in parts})

    def update(self) -> None:
        losses, _ = self.stage.losses(self.batch)
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        self.stage.configure_gradient_clipping(self.optimizer)
        self.optimizer.step()
        self.stage.after_update()

    def timed(self, updates: int) -> tuple[float, float]:
        began = time.process_time(), time.perf_counter()
        for _ in range(updates):
            self.update()
        return time.process_time() - began[0], time.perf_counter() - began[1]

    def flops(self) -> int:
        with FlopCounterMode(display=False) as counter:
            self.update()
        return counter.get_total_flops()


class Theirs(Side):
    """sheeprl's updates in a process of its own, see `sheeprl_update.py`."""

    def __init__(self, size: Size, made: dict[str, np.ndarray], options: argparse.Namespace) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "batch.npz"
            np.savez(file, allow_pickle=False, **made)
            driver = Path(__file__).with_name("sheeprl_update.py")
            keeping = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)} if options.peer_keeps else {}
            self.process = subprocess.Popen(
                [options.peer, str(driver), str(file), *size.theirs],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **keeping, "OMP_NUM_THREADS": str(options.threads)},
            )
            told = self._read()
        versions = " ".join(f"{name} {version}" for name, version in told["versions"].items())
        super().__init__(versions, told["parameters"])

    def _read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def timed(self, updates: int) -> tuple[float, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{updates}\n")
        self.process.stdin.flush()
        cpu, wall = self._read()
        return cpu, wall

    def close(self) -> None:
        self.process.communicate()


def spec(size: Size) -> EnvSpec:
    if size.demo:
        return EnvSpec("made up", {"grid": ArraySpec((10, 10, 4), "bool", "planes")}, 3)
    return EnvSpec("made up", {"rgb": ArraySpec((64, 64, 3), "uint8", "image")}, ACTIONS)


def arrays(size: Size) -> dict[str, np.ndarray]:
    """A batch of windows, batch first: noise to look at, now and then a reward, no end."""
    rng, shape = np.random.default_rng(0), (size.width, size.observations)
    seen = rng.random((*shape, 10, 10, 4)) < 0.05 if size.demo else rng.integers(0, 256, (*shape, 64, 64, 3), np.uint8)
    return {
        "pictures": seen,
        "actions": rng.integers(0, 3 if size.demo else ACTIONS, shape),
        "rewards": (rng.random(shape) < 0.1).astype(np.float32),
        **{name: np.zeros(shape, np.float32) for name in ("terminated", "truncated", "is_first")},
    }


def batch(size: Size, made: dict[str, np.ndarray]) -> Batch:
    """As many observations, and as we count one step less between them."""
    steps = size.observations - 1
    action, reward = torch.from_numpy(made["actions"][:, :steps]), torch.from_numpy(made["rewards"][:, 1:])
    never = torch.zeros(size.width, steps, dtype=torch.bool)
    first = torch.zeros(size.width, steps + 1, dtype=torch.bool)
    (name,) = spec(size).obs
    return Batch({name: torch.from_numpy(made["pictures"])}, action, reward, never, never, first, ~never)


def matmul_rate(size: int = 1024, repeats: int = 10) -> float:
    """Floating-point operations per CPU second of a large float32 matrix product, at best."""
    a, best = torch.randn(size, size), float("inf")
    for _ in range(repeats):
        began = time.process_time()
        torch.mm(a, a)
        best = min(best, time.process_time() - began)
    return 2 * size**3 / best


def compared(name: str, options: argparse.Namespace) -> None:
    size = SIZES[name]
    made = arrays(size)
    ours = Ours(size, made)
    theirs = Theirs(size, made, options) if options.peer and size.theirs else None
    sides = [side for side in (ours, theirs) if side is not None]
    updates = max(1, round(options.seconds / _warm(ours)))
    rate, few = 0.0, 1 if theirs is None else max(1, round(options.seconds / _warm(theirs)))
    for _ in range(options.rounds):
        rate = max(rate, matmul_rate())
        for side in sides:
            side.take(updates if side is ours else few)
    flops = ours.flops()
    report(name, sides, flops, rate)
    if theirs is not None:
        theirs.close()


def _warm(side: Side) -> float:
    """CPU seconds of an update that is not the first."""
    side.timed(1)
    return side.timed(1)[0]


def report(name: str, sides: Sequence[Side], flops: int, rate: float) -> None:
    print(f"\n{name}: {flops / 1e9:.1f} GFLOP an update of ours; a matrix product does {rate / 1e9:.0f} GFLOP/s here")
    print(f"{'':<30}{'updates/s':>11}{'CPU ms':>10}{'wall ms':>10}{'of matmul':>11}  parameters")
    for side in sides:
        cpu, wall = statistics.median(side.cpu), statistics.median(side.wall)
        share = f"{flops / cpu / rate:.0%}" if side is sides[0] else ""
        counts = f"{sum(side.parameters.values()):,}: " + ", ".join(f"{k} {v:,}" for k, v in side.parameters.items())
        print(f"{side.name:<30}{1 / cpu:>11.3g}{1000 * cpu:>10.1f}{1000 * wall:>10.1f}{share:>11}  {counts}")
    if len(sides) > 1:
        for kind in ("cpu", "wall"):
            pairs = zip(getattr(sides[0], kind), getattr(sides[1], kind), strict=True)
            faster = [theirs / ours for ours, theirs in pairs]
            span = f"({min(faster):.2f} to {max(faster):.2f})"
            print(f"by {kind} time ours is {statistics.median(faster):.2f} times as fast {span}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--peer", help="Python of an environment with sheeprl; without, only ours is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="CPU time of each side in a round, about")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="ours gives memory back, too")
    parser.add_argument("--peer-keeps", action="store_true", help="the peer keeps freed memory, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.plain:
        keep_freed_memory()
    for name in options.sizes:
        compared(name, options)


if __name__ == "__main__":
    main()
