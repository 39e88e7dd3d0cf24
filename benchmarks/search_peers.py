"""The peers' side of search.py, run in their own Python: microseconds of CPU time per batched simulation.

    <python with mctx or lightzero> benchmarks/search_peers.py <mctx|lightzero> <puct|gumbel> <B> <n> [rounds]

    python3.11 -m venv <folder>
    <folder>/bin/pip install mctx
    <folder>/bin/pip install --no-deps lightzero==0.2.0

Of LightZero the compiled trees are loaded and driven as its `mcts_ctree.py` does, in arrays of numpy in place of
tensors, which is a little faster; the rest of the package is not needed. Shown is the best of all rounds; of mctx the
mean, since it works in threads of its own, whose time is booked too coarsely for a single search.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

ACTIONS, FLOATS = 6, 400


def spent(search: Callable[[], object], rounds: int) -> float:
    """Best CPU seconds of a call."""
    search()
    return min(_once(search) for _ in range(rounds))


def _once(search: Callable[[], object]) -> float:
    start = time.process_time()
    search()
    return time.process_time() - start


def mctx(name: str, width: int, simulations: int) -> Callable[[], object]:
    """Its model gives the same answer to everything; compilation does not count."""
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
    return lambda: search(key).block_until_ready()


def lightzero(name: str, width: int, simulations: int) -> Callable[[], object]:
    trees = _ctree({"puct": "ctree_muzero/mz_tree", "gumbel": "ctree_gumbel_muzero/gmz_tree"}[name])
    draw = np.random.default_rng(0)
    prior = draw.normal(size=(simulations + 1, width, ACTIONS)).astype(np.float32)
    value = draw.normal(size=(simulations + 1, width)).astype(np.float32)
    noise, reward, turn = draw.dirichlet([0.3] * ACTIONS, width).tolist(), [0.0] * width, [-1] * width
    latent = np.zeros((width, FLOATS), np.float32)
    gumbel = name == "gumbel"

    def search() -> object:
        roots = trees.Roots(width, [list(range(ACTIONS)) for _ in range(width)])
        told = [value[0].tolist()] if gumbel else []
        roots.prepare(0.25, noise, reward, *told, prior[0].tolist(), turn)
        kept, ranges = [latent], trees.MinMaxStatsList(width)
        ranges.set_delta(0.01)
        for i in range(simulations):
            found = trees.ResultsWrapper(num=width)
            how = (simulations, 16, 0.99) if gumbel else (19652, 1.25, 0.99, ranges)
            path, batch, action, turns = trees.batch_traverse(roots, *how, found, turn)
            np.asarray([kept[x][y] for x, y in zip(path, batch, strict=True)])
            np.asarray(action)
            kept.append(latent)
            backup = trees.batch_back_propagate if gumbel else trees.batch_backpropagate
            value_i, prior_i = value[i + 1].tolist(), prior[i + 1].tolist()
            backup(i + 1, 0.99, value_i, value_i, prior_i, ranges, found, turns)
        return roots.get_distributions(), roots.get_values()

    return search


def _ctree(name: str) -> ModuleType:
    folder = next(Path(path) / "lzero/mcts/ctree" for path in sys.path if (Path(path) / "lzero/mcts/ctree").is_dir())
    file = folder / (name + importlib.machinery.EXTENSION_SUFFIXES[0])
    spec = importlib.util.spec_from_file_location(file.name.partition(".")[0], file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    peer, name, width, simulations, *rounds = sys.argv[1:]
    search = {"mctx": mctx, "lightzero": lightzero}[peer](name, int(width), int(simulations))
    count = int(rounds[0]) if rounds else 30
    if peer == "mctx":
        search()
        seconds = _once(lambda: [search() for _ in range(count)]) / count
    else:
        seconds = spent(search, count)
    print(seconds / int(simulations) * 1e6)


if __name__ == "__main__":
    main()
