from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.grid import GridDynamics, GridRepresentation, Squeeze
from worldmodels.model.muzero import MuZero
from worldmodels.nn.heads import TransformedHead
from worldmodels.nn.mlp import MLP
from worldmodels.stage.consistency import Buffered, Cosine, Seen

SPEC = EnvSpec("small", {"grid": ArraySpec((4, 3, 2), "bool", "planes")}, 3)
B, M = 5, 3


@pytest.fixture
def model() -> MuZero:
    torch.manual_seed(0)
    head = partial(TransformedHead, units=8, bins=21, limit=5.0)
    parts = (partial(GridRepresentation, channels=8, blocks=[1]), partial(GridDynamics, blocks=1), Squeeze)
    return MuZero(SPEC, *parts, head, head, partial(MLP, width=8, depth=0))


@pytest.fixture
def seen(model: MuZero) -> Seen:
    draw = torch.Generator().manual_seed(1)
    obs = {"grid": torch.rand(B, M, 4, 3, 2, generator=draw) > 0.5}
    valid = torch.ones(B, M, dtype=torch.bool)
    valid[0, 2] = valid[3, 1] = valid[3, 2] = False
    return Seen(obs, valid, model.encode)


def latents() -> torch.Tensor:
    return torch.rand(B, M, 8, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float32)


def moved(model: MuZero) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1


@pytest.mark.parametrize("slow", [False, True])
def test_guesses_are_held_against_what_the_model_or_its_slow_copy_sees(model: MuZero, seen: Seen, slow: bool) -> None:
    cosine = Cosine(model, target={"rate": 0.25} if slow else None)
    before = copy.deepcopy((model, cosine.projector)), model.representation.net[0].weight.clone()
    moved(model)
    (looks, projector), weight = before if slow else ((model, cosine.projector), None)
    each, _ = cosine(latents(), seen)
    assert each.shape == (B, M)
    assert (each[:, 0] == 0).all()
    for b in range(B):
        for m in range(1, M):
            guess = cosine.predictor(cosine.projector(latents()[b, m]))
            target = projector(looks.encode({"grid": seen.obs["grid"][b, m]}))
            expected = float(seen.valid[b, m]) * (1 - F.cosine_similarity(guess, target, dim=-1))
            torch.testing.assert_close(each[b, m], expected)
    for target, source in cosine.followers(model):
        target.update(source)
    if slow:
        assert cosine.slow is not None
        assert weight is not None
        kept = cosine.slow.module[0].net[0].weight
        torch.testing.assert_close(kept, weight + 0.25 * 0.1)
        assert not kept.requires_grad


@pytest.mark.parametrize("slow", [False, True])
def test_what_is_seen_is_no_way_for_gradients(model: MuZero, seen: Seen, slow: bool) -> None:
    """SimSiam collapses without that."""
    cosine, looked = Cosine(model, target={"rate": 0.25} if slow else None), latents().requires_grad_()
    each, _ = cosine(looked, seen)
    each.sum().backward()
    assert looked.grad is not None
    assert looked.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters())


def test_a_queue_keeps_what_was_seen_last_and_wraps(model: MuZero, seen: Seen) -> None:
    buffered = Buffered(model, queue=12 * 7, projection=4)
    assert buffered.queue.shape == (12, 7, 4)
    lived = []
    for n in (3, 3, 4, 9):
        new = torch.randn(12, n, 4)
        buffered.keep(new)
        lived.append(new)
    everything = torch.cat(lived, 1)
    kept = {tuple(row) for row in buffered.queue[5].tolist()}
    assert kept == {tuple(row) for row in everything[5, -7:].tolist()}


def test_what_is_seen_joins_the_queue_after_the_update_and_only_while_learning(model: MuZero, seen: Seen) -> None:
    buffered = Buffered(model, queue=12 * 50, projection=4, target={"rate": 0.5})
    first = buffered.queue.clone()
    buffered(latents(), seen)
    assert torch.equal(buffered.queue, first)
    buffered.after_update()
    count = int(seen.valid[:, 1:].sum())
    assert int(buffered.at) == count
    made = F.normalize(buffered.slow(seen.later), dim=-1)[seen.valid[:, 1:]]
    assert torch.equal(buffered.queue[:, :count], made.transpose(0, 1))
    assert torch.equal(buffered.queue[:, count:], first[:, count:])
    buffered.eval()
    buffered(latents(), seen)
    buffered.after_update()
    assert int(buffered.at) == count


def test_what_was_seen_is_told_from_the_queue(model: MuZero, seen: Seen) -> None:
    """A projection that has the right answer pays next to nothing; one that has another's pays a lot."""
    buffered = Buffered(model, queue=12 * 64, projection=32, layers=0)
    real = model.encode(seen.obs)
    right, told = buffered(real, seen)
    wrong, _ = buffered(real.roll(1, 0), seen)
    assert float(told["nce_accuracy"]) == 1
    assert right.sum() < 0.5 * wrong.sum()
    assert (right[~seen.valid] == 0).all()


def test_a_queue_that_is_too_short_is_refused(model: MuZero) -> None:
    with pytest.raises(ConfigError, match="a queue of 11 for latents of 12 places"):
        Buffered(model, queue=11)
