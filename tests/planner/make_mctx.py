"""Writes mctx.npz: what mctx finds in random models. Needs mctx, which the tests do not.

    python tests/planner/make_mctx.py

All in double precision, so that no choice hangs on rounding; the models' numbers are exact in single precision. A model
is a graph of states: `next[s, a]`, `reward[s, a]` and `discount[s, a]` (0 in one edge of ten), `prior[s]` logits and
`value[s]`. Of every search the whole tree is kept: `parent` and `action` of each node, in the order of simulations.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import mctx  # noqa: E402
import numpy as np  # noqa: E402

STATES = 200
# Search (root+interior where these differ), actions, roots, simulations, considered actions (0: not asked), whether
# some actions are invalid.
CASES = [
    *(("gumbel", 6, *rest) for rest in [(1, 2, 2, 0), (8, 4, 4, 0), (64, 8, 6, 0), (32, 16, 6, 0), (16, 50, 6, 0)]),
    *(("gumbel", 6, *rest) for rest in [(16, 32, 3, 0), (8, 50, 1, 0), (32, 16, 6, 1), (16, 50, 4, 1), (7, 1, 6, 0)]),
    *(("gumbel", 18, *rest) for rest in [(8, 16, 16, 0), (8, 50, 16, 1), (8, 5, 16, 0)]),
    *(("puct", 6, *rest) for rest in [(1, 2, 0, 0), (8, 8, 0, 0), (64, 16, 0, 0), (16, 50, 0, 0), (16, 16, 0, 1)]),
    *(("puct", 18, *rest) for rest in [(8, 50, 0, 0), (8, 20, 0, 1)]),
    *(("gumbel+puct", 6, *rest) for rest in [(8, 4, 4, 0), (32, 16, 6, 0), (16, 50, 4, 1)]),
    *(("gumbel+puct", 18, *rest) for rest in [(8, 50, 16, 0)]),
    *(("puct+gumbel", 6, *rest) for rest in [(8, 4, 0, 0), (32, 16, 0, 0), (16, 50, 0, 1)]),
    *(("puct+gumbel", 18, *rest) for rest in [(8, 50, 0, 0)]),
]


def model(actions: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(actions)
    ends = draw.random((STATES, actions)) < 0.1
    parts = {
        "next": draw.integers(STATES, size=(STATES, actions)),
        "reward": draw.normal(size=(STATES, actions)),
        "discount": np.where(ends, 0, 0.97),
        "prior": 2 * draw.normal(size=(STATES, actions)),
        "value": draw.normal(size=STATES),
    }
    return {name: part.astype(np.int16 if name == "next" else np.float32) for name, part in parts.items()}


def searched(parts: dict[str, np.ndarray], kind: str, roots: int, simulations: int, considered: int, masked: int):
    actions = parts["reward"].shape[1]
    draw = np.random.default_rng([actions, roots, simulations, considered, masked])
    state = draw.integers(STATES, size=roots)
    invalid = draw.random((roots, actions)) < 0.5 * masked
    invalid[np.arange(roots), draw.integers(actions, size=roots)] = False
    table = {name: jnp.asarray(part, jnp.int32 if name == "next" else jnp.float64) for name, part in parts.items()}

    def recurrent(params: object, key: object, action: jax.Array, state: jax.Array):
        after = table["next"][state, action]
        answer = mctx.RecurrentFnOutput(
            reward=table["reward"][state, action],
            discount=table["discount"][state, action],
            prior_logits=table["prior"][after],
            value=table["value"][after],
        )
        return answer, after

    first = mctx.RootFnOutput(prior_logits=table["prior"][state], value=table["value"][state], embedding=state)
    asked = {
        "params": (),
        "rng_key": jax.random.PRNGKey(simulations),
        "root": first,
        "recurrent_fn": recurrent,
        "num_simulations": simulations,
        "invalid_actions": jnp.asarray(invalid, jnp.float64),
    }
    if "+" in kind:
        return pair(asked, *kind.split("+"), considered) | {"state": state.astype(np.int16), "invalid": invalid}
    options = {"max_num_considered_actions": considered} if kind == "gumbel" else {"dirichlet_fraction": 0.0}
    policy = {"gumbel": mctx.gumbel_muzero_policy, "puct": mctx.muzero_policy}[kind]
    result = policy(**asked, **options)
    found = grown(result.search_tree) | {
        "state": state.astype(np.int16),
        "invalid": invalid,
        "target": np.asarray(result.action_weights),
    }
    if kind == "gumbel":
        gumbel = result.search_tree.extra_data.root_gumbel
        found |= {"gumbel": np.asarray(gumbel), "action": np.asarray(result.action, np.int8)}
    return found


def pair(asked: dict, root: str, interior: str, considered: int) -> dict[str, np.ndarray]:
    """A search whose roots choose by one rule and whose other nodes by another, of which mctx has no policy."""
    invalid = asked["invalid_actions"]
    logits = jnp.where(invalid > 0, jnp.finfo(jnp.float64).min, asked["root"].prior_logits)
    gumbel = jax.random.gumbel(asked["rng_key"], logits.shape, logits.dtype)
    roots = {
        "puct": partial(mctx.muzero_action_selection, depth=0),
        "gumbel": partial(
            mctx.gumbel_muzero_root_action_selection,
            num_simulations=asked["num_simulations"],
            max_num_considered_actions=considered,
        ),
    }
    interiors = {"puct": mctx.muzero_action_selection, "gumbel": mctx.gumbel_muzero_interior_action_selection}
    tree = mctx.search(
        **asked | {"root": asked["root"].replace(prior_logits=logits)},
        root_action_selection_fn=roots[root],
        interior_action_selection_fn=interiors[interior],
        extra_data=mctx.GumbelMuZeroExtraData(root_gumbel=gumbel),
    )
    return grown(tree) | ({"gumbel": np.asarray(gumbel)} if root == "gumbel" else {})


def grown(tree: mctx.Tree) -> dict[str, np.ndarray]:
    summary = tree.summary()
    return {
        "visits": np.asarray(summary.visit_counts, np.int16),
        "value": np.asarray(summary.value),
        "q": np.asarray(summary.qvalues),
        "parent": np.asarray(tree.parents, np.int8),
        "edge": np.asarray(tree.action_from_parent, np.int8),
    }


def main() -> None:
    models = {actions: model(actions) for actions in (6, 18)}
    arrays = {f"model{actions}.{name}": part for actions, parts in models.items() for name, part in parts.items()}
    arrays["cases"] = np.array(["-".join(map(str, case)) for case in CASES])
    for case in CASES:
        kind, actions, *rest = case
        found = searched(models[actions], kind, *rest)
        arrays |= {f"{'-'.join(map(str, case))}.{name}": part for name, part in found.items()}
        print(case, "value", float(found["value"].mean()))
    np.savez_compressed(Path(__file__).with_name("mctx.npz"), **arrays)


if __name__ == "__main__":
    main()
