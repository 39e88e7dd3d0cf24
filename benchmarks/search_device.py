"""Where trees should grow when the network is on a GPU: compiled on the CPU (hybrid), or as tensors beside the model.

    python benchmarks/search_device.py [--device cuda] [--sizes 32x50 256x50] [option=<value> ...]

Both grow the same trees with the same convolutional network (`model=muzero_grid`, 64 planes, two blocks in the
dynamics, pictures of 96 x 96, 4 actions) in MuZero's search. Shown are simulations per second of wall time, which are
those of one root times B; the share of that time that the network takes alone, asked as often; and, on a GPU, how often
the host waits for it in each batched simulation, as torch counts it. Medians over the rounds. Options change the model.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from worldmodels.core.allocator import keep_freed_memory
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config
from worldmodels.planner.puct import Puct
from worldmodels.stage.muzero import MuZero

SPEC = EnvSpec("pictures", {"image": ArraySpec((96, 96, 3), "uint8", "image")}, 4)
WORDS = (
    "+experiment=gumbel_muzero",
    "model=muzero_grid",
    "model.representation.channels=64",
    "model.dynamics.blocks=2",
)
BACKENDS = {"hybrid": "numba", "tensors": "torch"}
ROW = "{:<10}{:>6}{:>6}{:>18}{:>12}{:>12}"


def taken(work: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Median seconds of a call, until the device is done. The first call, which compiles, does not count."""
    times = list[float]()
    for _ in range(rounds + 1):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - began)
    return median(times[1:])


def waits(work: Callable[[], object], device: torch.device) -> int | None:
    """How often the host waits for the device; None where there is no other."""
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        work()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(each.message) for each in seen)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def compare(stage: MuZero, width: int, simulations: int, rounds: int, device: torch.device) -> None:
    model, ways = stage.model, stage.simulator(torch.Generator())
    obs = {"image": torch.randint(256, (width, 96, 96, 3), dtype=torch.uint8, device=device)}
    belief, action = model.start(model.encode(obs)), torch.zeros(width, dtype=torch.int64, device=device)
    alone = taken(lambda: [ways.recurrent(belief, action) for _ in range(simulations)], rounds, device)
    for name, backend in BACKENDS.items():
        planner = Puct(simulations=simulations, backend=backend)

        def search(planner: Puct = planner) -> object:
            return planner.plan(ways, belief, rng=np.random.default_rng(0))

        seconds, waited = taken(search, rounds, device), waits(search, device)
        each = "" if waited is None else f"{waited / simulations:.1f}"
        speed = f"{width * simulations / seconds:,.0f}"
        print(ROW.format(name, width, simulations, speed, f"{alone / seconds:.0%}", each), flush=True)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="+", default=["32x50", "256x50"], metavar="<B>x<n>")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("words", nargs="*", metavar="option=<value>")
    options = parser.parse_args()
    keep_freed_memory()
    device = torch.device(options.device)
    stage = build_stage(config("train", [*WORDS, *options.words]), SPEC)
    assert isinstance(stage, MuZero)
    stage.model.to(device).eval()
    print(ROW.format("trees", "B", "n", "simulations/s", "network", "waits"))
    for size in options.sizes:
        width, simulations = map(int, size.split("x"))
        compare(stage, width, simulations, options.rounds, device)


if __name__ == "__main__":
    main()
