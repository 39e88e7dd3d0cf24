"""What a tree search costs beside the model: microseconds of CPU time per batched simulation, on one core.

    python benchmarks/search.py [--rounds 30] [--sizes 8x50 64x50] [--peer <python with mctx and lightzero>]

The model looks its answers up in tables that lie ready, and its latents are 400 floats per root; its own time, measured
alone, is shown and not taken off. One simulation of B trees is one row of calls: choose, read latents, ask the model,
grow, keep latents. Setting up and reading out a search count, divided by its simulations. The best of all rounds is
shown, since other work on the machine only ever adds; of mctx the mean. With --peer the peers are measured in that
Python, see search_peers.py, right after ours, and shown with how many times as long they take.

As our runner does, this keeps freed memory (`core/allocator.py`).
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
from pathlib import Path

import numpy as np
import torch
from search_peers import ACTIONS, FLOATS, spent

from worldmodels.core.allocator import keep_freed_memory
from worldmodels.planner.simulator import Move, Root, Simulator

SIZES = [(1, 50), (8, 50), (32, 16), (64, 16), (64, 50), (256, 50)]
PLANNERS = ("puct", "gumbel", "ucb_q", "regularized")
PEERS = ("mctx", "lightzero")
ROW = "{:<12}{:>6}{:>6}{:>10}{:>10}{:>18}{:>18}"


def recorded(width: int, simulations: int) -> Simulator:
    """Answers that lie ready, in order."""
    draw = torch.Generator().manual_seed(0)
    latent = torch.zeros(width, FLOATS)
    moves = [
        Move(
            latent,
            torch.randn(width, generator=draw),
            torch.full((width,), 0.99),
            torch.randn(width, ACTIONS, generator=draw),
            torch.randn(width, generator=draw),
        )
        for _ in range(simulations)
    ]
    answers = iter(moves)
    first = Root(latent, moves[0].prior, moves[0].value)

    def root(_: object) -> Root:
        nonlocal answers
        answers = iter(moves)
        return first

    return Simulator(root, lambda *_: next(answers))


def ours(name: str, width: int, simulations: int, backend: str, rounds: int) -> tuple[float, float]:
    """Microseconds per simulation, of all and of the model alone."""
    simulator = recorded(width, simulations)
    module = importlib.import_module(f"worldmodels.planner.{name}")
    kind = getattr(module, "".join(part.title() for part in name.split("_")))
    planner, rng = kind(simulations=simulations, backend=backend), np.random.default_rng(0)
    whole = spent(lambda: planner.plan(simulator, None, rng=rng), rounds)

    def alone() -> None:
        simulator.root(None)
        for _ in range(simulations):
            simulator.recurrent(None, torch.empty(0))

    return whole / simulations * 1e6, spent(alone, rounds) / simulations * 1e6


def theirs(python: str, peer: str, name: str, width: int, simulations: int, rounds: int) -> float:
    words = [python, str(Path(__file__).with_name("search_peers.py")), peer, name]
    words += [str(width), str(simulations), str(rounds)]
    return float(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--backend", default="numba", choices=("numba", "torch"))
    parser.add_argument("--sizes", nargs="+", default=SIZES, type=lambda size: tuple(map(int, size.split("x"))))
    parser.add_argument("--peer", help="a Python interpreter that has mctx and lightzero")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(ROW.format("us/simulation", "B", "n", "ours", "model", *PEERS))
    for name in PLANNERS:
        for width, simulations in options.sizes:
            whole, alone = ours(name, width, simulations, options.backend, options.rounds)
            others = ["", ""]
            if options.peer and name in ("puct", "gumbel"):
                times = (theirs(options.peer, peer, name, width, simulations, options.rounds) for peer in PEERS)
                others = [f"{time:.1f} ({time / whole:.1f}x)" for time in times]
            print(ROW.format(name, width, simulations, f"{whole:.1f}", f"{alone:.1f}", *others), flush=True)


if __name__ == "__main__":
    main()
