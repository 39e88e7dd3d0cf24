"""A share of uniform probability in the prior of the roots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tables import BACKENDS, constant_table

from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.puct import Puct
from worldmodels.planner.regularized import Regularized


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("explore", [True, False])
def test_a_share_of_the_roots_prior_is_uniform_over_valid_actions(explore: bool, backend: str) -> None:
    table, start = constant_table(prior=torch.tensor([[4.0, 0.0, -4.0]])), torch.zeros(5, dtype=torch.int64)
    invalid = torch.tensor([[False, True, False]]).expand(5, 3)
    found = Gumbel(simulations=16, unimix=0.2, backend=backend).plan(
        table.simulator(), start, rng=np.random.default_rng(0), explore=explore, invalid=invalid
    )
    prior = torch.tensor([4.0, -torch.inf, -4.0], dtype=torch.float64).softmax(0)
    expected = 0.8 * prior + 0.2 * torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(found.tree.prior[0, 0], expected)
    torch.testing.assert_close(found.target[0], expected, rtol=0, atol=1e-6)  # as all values are equal
    below = found.tree.prior[0, 1]
    torch.testing.assert_close(below, table.prior[0].double().softmax(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [Gumbel, Puct, Regularized])
def test_all_that_look_at_a_policy_have_unimix(kind: type[Gumbel | Puct | Regularized]) -> None:
    table, start = constant_table(prior=torch.tensor([[4.0, 0.0, -4.0]])), torch.zeros(1, dtype=torch.int64)
    found = kind(simulations=4, unimix=0.2).plan(table.simulator(), start, rng=np.random.default_rng(0), explore=False)
    expected = 0.8 * table.prior[0].double().softmax(0) + 0.2 / 3
    torch.testing.assert_close(found.tree.prior[0, 0], expected)


@pytest.mark.parametrize(("better", "share"), [(0.0, 1 / 3), (1.0, 0.99)])
def test_a_policy_that_learns_what_is_found_with_unimix_stays_open_only_where_values_are_equal(
    better: float, share: float
) -> None:
    """Sixty policies, each the improved one of the last: the first action was thought to be the wrong one."""
    table, planner = constant_table(prior=torch.tensor([[-6.0, 6.0, -6.0]])), Gumbel(simulations=8, unimix=0.1)
    table.reward[:, 0] += better
    for _ in range(60):
        start = torch.zeros(1, dtype=torch.int64)
        target = planner.plan(table.simulator(), start, rng=np.random.default_rng(0), explore=False).target
        table.prior = target.log().float()
    assert abs(float(target[0, 0]) - share) < 0.01
