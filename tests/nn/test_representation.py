from __future__ import annotations

import math

import pytest
import torch

from worldmodels.nn.representation import Representation

FEATURE, EMBED = 5, 3


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Moments (4, 6), some of which are padding that must not count."""
    rng = torch.Generator().manual_seed(0)
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[1, 4:] = valid[3, 2:] = False
    feature, embed = torch.randn(4, 6, FEATURE, generator=rng), torch.randn(4, 6, EMBED, generator=rng) * 3 + 1
    feature[~valid], embed[~valid] = 1e3, -1e3
    return feature, embed, valid


def naive_barlow(guess: list[list[float]], target: list[list[float]], redundancy: float) -> float:
    """Zbontar et al. (2021), equation 1, over lists."""
    n = len(guess)

    def standard(rows: list[list[float]]) -> list[list[float]]:
        columns = []
        for column in zip(*rows, strict=True):
            mean = sum(column) / n
            deviation = math.sqrt(sum((x - mean) ** 2 for x in column) / (n - 1))
            columns.append([(x - mean) / (deviation + 1e-8) for x in column])
        return columns

    total = 0.0
    for i, a in enumerate(standard(guess)):
        for j, b in enumerate(standard(target)):
            c = sum(x * y for x, y in zip(a, b, strict=True)) / n
            total += (c - 1) ** 2 if i == j else redundancy * c**2
    return total


def naive_infonce(guess: list[list[float]], target: list[list[float]]) -> float:
    total = 0.0
    for i, a in enumerate(guess):
        scores = [sum(x * y for x, y in zip(a, b, strict=True)) for b in target]
        top = max(scores)
        total += top + math.log(sum(math.exp(s - top) for s in scores)) - scores[i]
    return total / len(guess)


@pytest.mark.parametrize("kind", ["barlow", "infonce"])
def test_the_loss_is_that_of_a_loop_over_what_counts(kind):
    torch.manual_seed(0)
    part = Representation(FEATURE, EMBED, loss=kind, scale=0.05, redundancy=0.3)
    feature, embed, valid = data()
    guess, target = part(feature)[valid].tolist(), embed[valid].tolist()
    expected = naive_barlow(guess, target, 0.3) if kind == "barlow" else naive_infonce(guess, target)
    assert float(part.loss(feature, embed, valid).detach()) == pytest.approx(0.05 * expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["barlow", "infonce"])
def test_features_and_projector_learn_and_embeddings_are_only_targets(kind):
    torch.manual_seed(0)
    part = Representation(FEATURE, EMBED, loss=kind)
    feature, embed, valid = data()
    feature.requires_grad_()
    embed.requires_grad_()
    part.loss(feature, embed, valid).backward()
    assert embed.grad is None
    assert part.projector.weight.grad is not None
    assert feature.grad is not None
    assert (feature.grad[valid].abs().sum(-1) > 0).all()
    assert not feature.grad[~valid].any()


def test_a_coordinate_that_never_moves_makes_no_nan():
    part = Representation(FEATURE, EMBED)
    feature, embed, valid = data()
    part.projector.weight.data[0], embed[..., 1] = 0.0, 7.0
    part.loss(feature, embed, valid).backward()
    assert torch.isfinite(part.projector.weight.grad).all()


def test_features_that_know_the_embeddings_cost_next_to_nothing():
    _, embed, valid = data()
    part = Representation(EMBED, EMBED, scale=1.0, redundancy=0.0)
    part.projector.weight.data = torch.eye(EMBED)
    assert float(part.loss(embed, embed, valid).detach()) < 0.05
    assert float(part.loss(embed.flip(-1), embed, valid).detach()) > 1.0
