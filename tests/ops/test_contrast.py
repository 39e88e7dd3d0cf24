from __future__ import annotations

import math

import pytest
import torch

from worldmodels.ops.contrast import infonce, queued

B, M, L, C = 5, 3, 4, 8


def vectors(seed: int) -> torch.Tensor:
    return torch.randn(B, M, L, C, generator=torch.Generator().manual_seed(seed))


def naive(guess: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, temperature: float, own: bool):
    """One place, one guess and one candidate after the other."""

    def score(place: int, one: tuple[int, int], other: tuple[int, int]) -> float:
        a, b = guess[one][place], target[other][place]
        return float(a @ b / (a.norm() * b.norm())) / temperature

    rows = [(b, m) for b in range(B) for m in range(M)]
    loss, hit = torch.zeros(B, M), torch.zeros(B, M)
    for me in rows:
        if not valid[me]:
            continue
        others = [row for row in rows if row != me and valid[row] and (own or row[0] != me[0])]
        for place in range(L):
            right = score(place, me, me)
            forth = [right] + [score(place, me, other) for other in others]
            back = [right] + [score(place, other, me) for other in others]
            for scores in (forth, back):
                loss[me] += (math.log(sum(math.exp(x) for x in scores)) - right) / (2 * L)
            hit[me] += (max(forth) == right) / L
    return loss, hit


@pytest.mark.parametrize("own", [False, True])
def test_it_is_the_naive_loop(own: bool) -> None:
    guess, target = vectors(0), vectors(1)
    valid = torch.rand(B, M, generator=torch.Generator().manual_seed(2)) > 0.3
    found = infonce(guess, target, valid, temperature=0.7, own=own)
    for one, expected in zip(found, naive(guess, target, valid, 0.7, own), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-5)


def test_random_features_cost_the_logarithm_of_the_candidates() -> None:
    """Masked ones are no candidates: they do not add exp(0) to the others."""
    guess, target = (torch.randn(64, 2, 1, 4096, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    loss, _ = infonce(guess, target, torch.ones(64, 2, dtype=torch.bool), temperature=1.0)
    assert float(loss.mean()) == pytest.approx(math.log(63 * 2 + 1), rel=0.01)


def test_identical_features_cost_nothing_and_are_found() -> None:
    same = torch.eye(12).view(4, 3, 1, 12)
    loss, hit = infonce(same, 5 * same, torch.ones(4, 3, dtype=torch.bool), temperature=0.1)
    assert float(loss.max()) < 0.01
    assert (hit == 1).all()


def test_the_order_of_the_batch_changes_nothing() -> None:
    guess, target, order = vectors(0), vectors(1), torch.tensor([3, 1, 4, 0, 2])
    valid = torch.ones(B, M, dtype=torch.bool)
    loss, _ = infonce(guess, target, valid, temperature=0.5)
    shuffled, _ = infonce(guess[order], target[order], valid, temperature=0.5)
    torch.testing.assert_close(shuffled, loss[order])


def test_what_is_not_valid_has_no_gradient() -> None:
    guess, target = vectors(0).requires_grad_(), vectors(1).requires_grad_()
    valid = torch.ones(B, M, dtype=torch.bool)
    valid[1, 2] = False
    infonce(guess, target, valid, temperature=0.5)[0].sum().backward()
    assert guess.grad is not None
    assert target.grad is not None
    assert not guess.grad[1, 2].any()
    assert not target.grad[1, 2].any()
    assert guess.grad[1, 1].any()


def test_with_a_queue_it_is_the_naive_loop() -> None:
    guess, target = vectors(0), vectors(1)
    queue = torch.randn(L, 7, C, generator=torch.Generator().manual_seed(2))
    loss, hit = queued(guess, target, queue, temperature=0.7)
    for b in range(B):
        for m in range(M):
            costs, hits = list[float](), 0
            for place in range(L):
                mine = guess[b, m, place] / guess[b, m, place].norm()
                right = float(mine @ target[b, m, place] / target[b, m, place].norm()) / 0.7
                others = [float(mine @ one) / 0.7 for one in queue[place]]
                costs.append(math.log(sum(map(math.exp, [right, *others]))) - right)
                hits += right > max(others)
            assert float(loss[b, m]) == pytest.approx(sum(costs) / L, rel=1e-4)
            assert float(hit[b, m]) == pytest.approx(hits / L)


def test_a_queue_at_random_costs_the_logarithm_of_its_length() -> None:
    guess, target = (torch.randn(16, 2, 1, 1024, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    queue = torch.nn.functional.normalize(torch.randn(1, 500, 1024, generator=torch.Generator().manual_seed(2)), dim=-1)
    loss, _ = queued(guess, target, queue, temperature=1.0)
    assert float(loss.mean()) == pytest.approx(math.log(501), rel=0.01)
