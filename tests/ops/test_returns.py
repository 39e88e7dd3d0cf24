import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldmodels.ops.returns import discounted, gae, lambda_return, n_step

KINDS = ("go", "go", "go", "terminated", "truncated")
rates = st.sampled_from([0.0, 0.3, 0.9, 1.0])
ends = st.lists(st.sampled_from(KINDS), min_size=1, max_size=9)
seeds = st.integers(0, 2**31 - 1)


def window(kinds: list[str], seed: int = 0, padding: int = 0) -> tuple[torch.Tensor, ...]:
    """Reward, value, cont and mask of one window in the layout of core.experience.Batch, in float64."""
    rows: list[str] = []
    for kind in kinds:
        rows += [kind] if kind == "go" else [kind, "cross"]
    rows += ["padding"] * padding
    rng = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[kind not in ("cross", "padding") for kind in rows]])
    cont = torch.tensor([[float(kind != "terminated") for kind in rows]], dtype=torch.float64)
    reward = torch.randn(1, len(rows), generator=rng, dtype=torch.float64) * mask
    value = torch.randn(1, len(rows) + 1, generator=rng, dtype=torch.float64)
    return reward, value, cont, mask


def naive_n_step(reward, value, cont, mask, discount, n, t):
    """G_{t:t+n} by its definition, for one step of one window given as lists."""
    total, weight, k = 0.0, 1.0, 0
    while k < n and t + k < len(reward) and mask[t + k]:
        total += weight * reward[t + k]
        weight *= discount * cont[t + k]
        k += 1
    return total + weight * value[t + k]


def steps_ahead(mask, t):
    """How many steps of the same episode follow from t on."""
    k = 0
    while t + k < len(mask) and mask[t + k]:
        k += 1
    return k


def naive_lambda(reward, value, cont, mask, discount, lam, t):
    """(1 - lam) sum_n lam^(n - 1) G_{t:t+n}, the rest of the weight on the longest (Sutton & Barto, 12.3)."""
    longest = steps_ahead(mask, t)
    if longest == 0:
        return value[t]
    mixed = sum(
        (1 - lam) * lam ** (n - 1) * naive_n_step(reward, value, cont, mask, discount, n, t) for n in range(1, longest)
    )
    return mixed + lam ** (longest - 1) * naive_n_step(reward, value, cont, mask, discount, longest, t)


def naive_gae(reward, value, cont, mask, discount, lam, t):
    """sum_l (discount lam)^l delta_{t + l}, up to the end of the episode (Schulman et al., 16)."""
    total, weight = 0.0, 1.0
    for k in range(t, t + steps_ahead(mask, t)):
        total += weight * (reward[k] + discount * cont[k] * value[k + 1] - value[k])
        weight *= discount * lam * cont[k]
    return total


def lists(*tensors):
    return [tensor[0].tolist() for tensor in tensors]


@settings(deadline=None, max_examples=60)
@given(ends, seeds, rates, rates, st.integers(0, 2))
def test_lambda_return_equals_its_definition(kinds, seed, discount, lam, padding):
    data = window(kinds, seed, padding)
    reward, value, cont, mask = data
    found = lambda_return(reward, value, cont, discount=discount, lam=lam, mask=mask)[0].tolist()
    expected = [naive_lambda(*lists(*data), discount, lam, t) for t in range(len(found))]
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(ends, seeds, rates, st.integers(1, 5), st.integers(0, 2))
def test_n_step_return_equals_its_definition(kinds, seed, discount, n, padding):
    data = window(kinds, seed, padding)
    reward, value, cont, mask = data
    found = n_step(reward, value, cont, discount=discount, n=n, mask=mask)[0].tolist()
    expected = [naive_n_step(*lists(*data), discount, n, t) for t in range(len(found))]
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(ends, seeds, rates, st.integers(1, 5), st.integers(0, 2))
def test_each_moment_may_look_less_far(kinds, seed, discount, n, padding):
    data = window(kinds, seed, padding)
    reward, value, cont, mask = data
    fewer = torch.randint(1, n + 1, reward.shape, generator=torch.Generator().manual_seed(seed))
    found = n_step(reward, value, cont, discount=discount, n=n, fewer=fewer, mask=mask)[0].tolist()
    expected = [naive_n_step(*lists(*data), discount, int(fewer[0, t]), t) for t in range(len(found))]
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(ends, seeds, rates, rates, st.integers(0, 2))
def test_gae_equals_its_definition(kinds, seed, discount, lam, padding):
    data = window(kinds, seed, padding)
    reward, value, cont, mask = data
    found = gae(reward, value, cont, discount=discount, lam=lam, mask=mask)[0].tolist()
    expected = [naive_gae(*lists(*data), discount, lam, t) for t in range(len(found))]
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(ends, seeds, rates, rates)
def test_advantage_plus_value_is_the_lambda_return(kinds, seed, discount, lam):
    reward, value, cont, mask = window(kinds, seed)
    options = {"discount": discount, "lam": lam, "mask": mask}
    torch.testing.assert_close(
        gae(reward, value, cont, **options) + value[:, :-1], lambda_return(reward, value, cont, **options)
    )


def test_values_worked_out_by_hand():
    reward, value = torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0, 40.0]])
    alive = torch.ones(1, 2)
    assert lambda_return(reward, value, alive, discount=0.5, lam=0.5).tolist() == [[11.5, 22.0]]
    assert gae(reward, value, alive, discount=0.5, lam=0.5).tolist() == [[1.5, 2.0]]
    assert n_step(reward, value, alive, discount=0.5, n=2).tolist() == [[12.0, 22.0]]
    assert discounted(reward, alive, discount=0.5).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("n", [1, 3])
def test_lam_0_is_the_one_step_target(n):
    reward, value, cont, mask = window(["go"] * 4 + ["terminated"])
    expected = reward + 0.9 * cont * value[:, 1:]
    found = lambda_return(reward, value, cont, discount=0.9, lam=0.0, mask=mask)
    torch.testing.assert_close(found[mask], expected[mask])
    torch.testing.assert_close(n_step(reward, value, cont, discount=0.9, n=1, mask=mask)[mask], expected[mask])


def test_lam_1_is_the_longest_n_step_return():
    reward, value, cont, mask = window(["go"] * 4 + ["truncated", "go", "go", "terminated", "go"], seed=1)
    longest = n_step(reward, value, cont, discount=0.9, n=reward.shape[1], mask=mask)
    torch.testing.assert_close(lambda_return(reward, value, cont, discount=0.9, lam=1.0, mask=mask), longest)


def test_where_every_step_is_terminal_only_the_reward_counts():
    reward, value, cont, mask = window(["terminated"] * 4)
    for lam in (0.0, 0.7, 1.0):
        found = lambda_return(reward, value, cont, discount=0.9, lam=lam, mask=mask)
        torch.testing.assert_close(found[mask], reward[mask])


def test_a_truncated_step_still_bootstraps_and_a_terminated_one_does_not():
    for kind, moves in (("truncated", True), ("terminated", False)):
        reward, value, cont, mask = window(["go", kind, "go"])
        raised = value.clone()
        raised[0, 2] += 100  # the value of the final observation
        options = {"discount": 0.9, "lam": 0.8, "mask": mask}
        difference = gae(reward, raised, cont, **options) - gae(reward, value, cont, **options)
        assert difference[0, 1].item() == pytest.approx(90.0 if moves else 0.0)


@pytest.mark.parametrize("kind", ["truncated", "terminated"])
def test_nothing_leaks_back_over_the_end_of_an_episode(kind):
    reward, value, cont, mask = window(["go", "go", kind, "go", "go"])
    other_reward, other_value = reward.clone(), value.clone()
    other_reward[:, 4:] += 7
    other_value[:, 4:] -= 5
    options = {"discount": 0.9, "mask": mask}
    for function in (gae, lambda_return):
        a, b = (function(r, v, cont, lam=0.9, **options) for r, v in ((reward, value), (other_reward, other_value)))
        assert torch.equal(a[:, :4], b[:, :4])
        assert not torch.equal(a, b)
    a, b = (n_step(r, v, cont, n=9, **options) for r, v in ((reward, value), (other_reward, other_value)))
    assert torch.equal(a[:, :4], b[:, :4])


def test_rows_that_were_never_stepped_have_no_advantage_even_if_their_value_is_nan():
    reward, value, cont, mask = window(["go", "truncated"], padding=2)
    value[:, 4:] = torch.nan
    found = gae(reward, value, cont, discount=0.9, lam=0.9, mask=mask)
    assert found.isfinite().all()
    assert (found[~mask] == 0).all()


def test_without_a_mask_every_step_counts():
    reward, value, cont, _ = window(["go"] * 5)
    everything = torch.ones_like(reward, dtype=torch.bool)
    for function in (gae, lambda_return):
        a = function(reward, value, cont, discount=0.9, lam=0.8)
        assert torch.equal(a, function(reward, value, cont, discount=0.9, lam=0.8, mask=everything))


def test_a_probability_of_going_on_weighs_the_bootstrap():
    reward, value = torch.zeros(1, 1), torch.tensor([[0.0, 8.0]])
    assert lambda_return(reward, value, torch.full((1, 1), 0.25), discount=0.5, lam=0.3).item() == 1.0


def test_gradients_pass_through_imagined_rewards_and_values():
    reward, value = torch.randn(2, 4, requires_grad=True), torch.randn(2, 5, requires_grad=True)
    lambda_return(reward, value, torch.ones(2, 4), discount=0.9, lam=1.0)[:, 0].sum().backward()
    torch.testing.assert_close(reward.grad, (0.9 ** torch.arange(4)).expand(2, 4))
    torch.testing.assert_close(value.grad, torch.tensor([0, 0, 0, 0, 0.9**4]).expand(2, 5))
