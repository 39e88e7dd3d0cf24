"""What a tree search costs beside the model: microseconds of CPU time per batched simulation, on one core.

    python benchmarks/search.py [--rounds 30] [--peer <python with mctx>] [--backend numba]

The model looks its answers up in tables that lie ready, and its latents are 400 floats per root; its own time, measured
alone, is shown and not taken off. One simulation of B trees is one row of calls: choose, read latents, ask the model,
grow, keep latents. Setting up and reading out a search count, divided by its simulations. The best of all rounds is
shown, since other work on the machine only ever adds. With --peer the same is measured for mctx on the CPU in that
Python, in turns with ours; its compilation does not count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ACTIONS, FLOATS = 6, 400
SIZES = [(1, 50), (8, 50), (32, 16), (64, 16), (64, 50), (256, 50)]
PLANNERS = ("puct", "gumbel", "ucb_q", "regularized")
ROW = "{:<12}{:>6}{:>6}{:>10}{:>10}{:>10}"


def spent(search: Callable[[], object], rounds: int) -> float:
    """Best CPU seconds of a call."""
    search()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        search()
        times.append(time.process_time() - start)
    return min(times)


def ours(name: str, width: int, simulations: int, backend: str, rounds: int) -> tuple[float, float]:
    """Microseconds per simulation, of all and of the model alone."""
    import importlib

    import torch

    from worldmodels.planner.simulator import Move, Root, Simulator

    torch.set_num_threads(1)
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

    simulator = Simulator(root, lambda *_: next(answers))
    module = importlib.import_module(f"worldmodels.planner.{name}")
    planner = getattr(module, "".join(part.title() for part in name.split("_")))(
        simulations=simulations, backend=backend
    )
    rng = np.random.default_rng(0)
    whole = spent(lambda: planner.plan(simulator, None, rng=rng), rounds)

    def alone() -> None:
        simulator.root(None)
        for _ in range(simulations):
            simulator.recurrent(latent, latent)

    return whole / simulations * 1e6, spent(alone, rounds) / simulations * 1e6


def peer(name: str, width: int, simulations: int, rounds: int) -> float:
    """Microseconds per simulation of mctx, whose model gives the same answer to everything."""
    import jax
    import jax.numpy as jnp
    import mctx

    draw = np.random.default_rng(0)
    prior = jnp.asarray(draw.normal(size=(simulations + 1, width, ACTIONS)), jnp.float32)
    value = jnp.asarray(draw.normal(size=(simulations + 1, width)), jnp.float32)

    def recurrent(_params: object, _key: object, action: jax.Array, latent: jax.Array) -> tuple[object, jax.Array]:
        moment = action % (simulations + 1)  # depends on the action, or XLA would take the model out of the loop
        rows = jnp.arange(width)
        answer = mctx.RecurrentFnOutput(
            reward=value[moment, rows],
            discount=jnp.full(width, 0.99),
            prior_logits=prior[moment, rows],
            value=value[moment, rows],
        )
        return answer, latent

    policy = {"puct": mctx.muzero_policy, "gumbel": mctx.gumbel_muzero_policy}[name]

    @jax.jit
    def search(key: jax.Array) -> jax.Array:
        first = mctx.RootFnOutput(prior_logits=prior[0], value=value[0], embedding=jnp.zeros((width, FLOATS)))
        return policy(
            params=(), rng_key=key, root=first, recurrent_fn=recurrent, num_simulations=simulations
        ).action_weights

    key = jax.random.PRNGKey(0)
    return spent(lambda: search(key).block_until_ready(), rounds) / simulations * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--backend", default="numba", choices=("numba", "torch"))
    parser.add_argument("--peer", help="a Python interpreter that has mctx")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # what this file runs itself with, in the peer
    options = parser.parse_args()
    if options.one:
        name, width, simulations = options.one
        print(peer(name, int(width), int(simulations), options.rounds))
        return
    print(ROW.format("us/simulation", "B", "n", "ours", "model", "mctx"))
    for name in PLANNERS:
        for width, simulations in SIZES:
            whole, alone = ours(name, width, simulations, options.backend, options.rounds)
            theirs = ""
            if options.peer and name in ("puct", "gumbel"):
                one = [options.peer, str(Path(__file__)), "--one", name, str(width), str(simulations)]
                one += ["--rounds", str(options.rounds)]
                output = subprocess.run(one, check=True, stdout=subprocess.PIPE, text=True).stdout
                theirs = f"{float(output):.1f}"
            print(ROW.format(name, width, simulations, f"{whole:.1f}", f"{alone:.1f}", theirs), flush=True)


if __name__ == "__main__":
    sys.exit(main())
