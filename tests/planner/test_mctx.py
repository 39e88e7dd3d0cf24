"""Every tree equals that of mctx, node for node, in models of random numbers. make_mctx.py wrote what it found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tables import BACKENDS, Table

from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.plan import Noise, Plan
from worldmodels.planner.puct import Puct
from worldmodels.planner.rules import GumbelRule, PuctRule, Rule

FOUND = np.load(Path(__file__).with_name("mctx.npz"))


def plan(case: str, backend: str) -> Plan:
    kind, actions, roots, simulations, considered, _ = case.split("-")
    parts = {name: torch.from_numpy(FOUND[f"model{actions}.{name}"]) for name in Table.__annotations__}
    simulator = Table(**parts | {"next": parts["next"].long()}).simulator()
    silent = np.zeros((int(roots), int(actions)))
    root, _, inside = kind.partition("+")
    inner: dict[str, Rule] = {
        "puct": PuctRule(1.25, 19652.0, "siblings", "minimum", 1e-8),
        "gumbel": GumbelRule(50.0, 0.1, 1e-8),
    }
    interior = inner[inside] if inside else None
    if root == "gumbel":
        noise = Noise(FOUND[f"{case}.gumbel"], silent, np.zeros((int(roots), 0, 0)))
        planner = Gumbel(
            simulations=int(simulations), max_considered=int(considered), interior=interior, backend=backend
        )
    else:
        noise = Noise(silent, silent, np.zeros((int(roots), 0, 0)))
        planner = Puct(
            simulations=int(simulations), scaling="siblings", temperature=0.0, interior=interior, backend=backend
        )
    return planner.plan(
        simulator,
        torch.from_numpy(FOUND[f"{case}.state"]).long(),
        rng=np.random.default_rng(0),
        invalid=torch.from_numpy(FOUND[f"{case}.invalid"]),
        noise=noise,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", FOUND["cases"].tolist())
def test_a_tree_is_that_of_mctx(case: str, backend: str) -> None:
    found = plan(case, backend)
    theirs = {name: FOUND[f"{case}.{name}"] for name in ("parent", "edge", "visits", "value", "q")}
    np.testing.assert_array_equal(found.tree.parent.numpy(), theirs["parent"])
    np.testing.assert_array_equal(found.tree.action.numpy(), theirs["edge"])
    np.testing.assert_array_equal(found.visits.numpy(), theirs["visits"])
    np.testing.assert_allclose(found.value.numpy(), theirs["value"], rtol=0, atol=1e-12)
    visited = theirs["visits"] > 0
    np.testing.assert_allclose(found.q.numpy()[visited], theirs["q"][visited], rtol=0, atol=1e-12)
    if "+" not in case:
        np.testing.assert_allclose(found.target.numpy(), FOUND[f"{case}.target"], rtol=0, atol=1e-12)
    if case.startswith("gumbel-"):
        np.testing.assert_array_equal(found.action.numpy(), FOUND[f"{case}.action"])
