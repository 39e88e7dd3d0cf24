from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from unrolls import K, N, learner, windows

from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng
from worldmodels.policy.searching import LIVED, POLICY, VALUE
from worldmodels.stage.muzero import MuZero
from worldmodels.stage.search_targets import Horizon, unsearched


@torch.no_grad()
def naive_value(stage: MuZero, batch: Batch, b: int, k: int, n: int = N) -> float | None:
    """The target of one moment that looks n steps further, one step at a time; None where there is none.

    Where it ends nobody may have searched: then the network's own word counts.
    """
    steps = int(batch.mask[b].sum())
    over = bool(batch.terminated[b].any())
    if k >= steps:
        return 0.0 if over else None

    def found(t: int) -> float:
        if float(batch.extras[POLICY][b, t].sum()) > 0:
            return float(batch.extras[VALUE][b, t])
        return float(stage.model.value(stage.model.encode({"vector": batch.obs["vector"][b, t]})))

    total, discount = 0.0, 1.0
    for t in range(k, k + n):
        if t == steps - 1 and not over:  # where it leads nobody has searched
            return total + discount * found(t)
        total += discount * float(batch.reward[b, t])
        discount *= 0.9
        if batch.terminated[b, t]:
            return total
    return total + discount * found(k + n)


def test_targets_are_those_that_one_would_work_out_by_hand() -> None:
    stage, batch = learner(), windows()
    found = stage.targets(batch)
    for b in range(len(batch.mask)):
        steps, over = int(batch.mask[b].sum()), bool(batch.terminated[b].any())
        for k in range(K + 1):
            expected = naive_value(stage, batch, b, k)
            assert bool(found.worth[b, k]) == (expected is not None), (b, k)
            if expected is not None:
                assert float(found.value[b, k]) == pytest.approx(expected, abs=1e-5), (b, k)
            searched = k < steps and float(batch.extras[POLICY][b, k].sum()) > 0
            assert bool(found.decided[b, k]) == searched
            assert bool(found.seen[b, k]) == (k <= steps)
        for k in range(K):
            assert bool(found.paid[b, k]) == (k < steps or over)
            assert float(found.reward[b, k]) == (float(batch.reward[b, k]) if k < steps else 0.0)
        for k in range(min(K + 1, steps)):
            assert int(found.action[b, k]) == int(batch.action[b, k])
    assert 0 < float(found.worth.float().mean()) < 1
    assert torch.equal(batch.extras[VALUE], windows().extras[VALUE]), "what is stored stays"
    assert 0 < float(found.decided.float().mean()) < 1


def test_values_look_less_far_from_what_was_lived_long_ago() -> None:
    stage, batch = learner(shorten_every=10), windows()
    age = torch.tensor([0, 9, 10, 19, 20, 25])[torch.arange(batch.mask.numel()).reshape(batch.mask.shape) % 6]
    stage.counted = 25
    batch = replace(batch, extras={**batch.extras, LIVED: (25 - age).int()})
    found, seen = stage.targets(batch), set[int]()
    for b in range(len(batch.mask)):
        for k in range(K + 1):
            n = N if age[b, k] < 10 else 1
            expected = naive_value(stage, batch, b, k, n)
            if expected is not None:
                assert float(found.value[b, k]) == pytest.approx(expected, abs=1e-5), (b, k)
                seen.add(n)
    assert seen == {1, N}


def test_after_the_end_actions_are_drawn_of_all_there_are() -> None:
    stage, batch = learner(), windows()
    drawn = list[int]()
    for now in range(20):
        stage.counted = now
        found = stage.targets(batch)
        drawn += found.action[~found_lived(batch)[:, : K + 1]].tolist()
    shares = torch.bincount(torch.tensor(drawn), minlength=4) / len(drawn)
    assert (shares > 0.1).all(), shares


def found_lived(batch: Batch) -> torch.Tensor:
    return torch.arange(batch.mask.shape[1]) < batch.mask.sum(1, keepdim=True)


@pytest.mark.parametrize("shorten_every", [None, 10])
def test_steps_at_random_are_told_by_the_network_wherever_a_sum_may_end(shorten_every: int | None) -> None:
    """Of what was lived long ago a sum may end after one step already."""
    batch = windows()
    random = batch.mask & (batch.extras[POLICY].sum(-1) == 0)
    told = unsearched(batch, Horizon(K, N, 0.9, shorten_every))
    for b, t in random.nonzero().tolist():
        last = t == int(batch.mask[b].sum()) - 1
        assert bool(told[b, t]) == (last or t >= (N if shorten_every is None else 1)), (b, t)
    assert not told[~random].any()
    assert random[:, 1:N].any()


@pytest.mark.parametrize("telling", [False, True])
def test_a_search_notes_when_a_step_was_lived_where_that_counts(telling: bool) -> None:
    stage = learner(shorten_every=10)
    stage.counted = 7
    policy = stage.policy().telling() if telling else stage.policy()
    _, _, told = policy.act({"vector": np.zeros((2, 3), "float32")}, np.ones(2, bool), None, explore=True, rng=Rng(0))
    assert told[LIVED].tolist() == [7, 7]
    assert set(told) == set(policy.extras)
    assert LIVED not in learner().policy().extras


def test_a_slow_copy_of_the_model_is_bootstrapped_from_instead() -> None:
    """And then the last observation counts, which nobody searched from, unless the world has ended there."""
    stage, batch = learner(target={"every": 2}), windows()
    assert stage.slow is not None
    slow = stage.slow.module
    found, going = stage.targets(batch), ~batch.terminated.any(1)
    for b in range(len(batch.mask)):
        steps = int(batch.mask[b].sum())
        for k in range(min(K + 1, steps)):
            end = min(k + N, steps)
            total = sum(0.9 ** (t - k) * float(batch.reward[b, t]) for t in range(k, end))
            if end < steps or going[b]:
                total += 0.9 ** (end - k) * float(slow.value(slow.encode({"vector": batch.obs["vector"][b, end]})))
            assert float(found.value[b, k]) == pytest.approx(total, abs=1e-5), (b, k)
        for k in range(steps, K + 1):
            assert bool(found.worth[b, k]) != bool(going[b])
            assert going[b] or float(found.value[b, k]) == 0.0
    before = stage.model.value(stage.model.encode(batch.obs)).detach()
    assert not torch.equal(before, slow.value(slow.encode(batch.obs)))
    for _ in range(2):
        stage.after_update()
    assert torch.equal(before, slow.value(slow.encode(batch.obs)))
