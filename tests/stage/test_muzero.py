from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError, WorkerError
from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.replay import Replay
from worldmodels.data.sampler import Uniform
from worldmodels.model import muzero
from worldmodels.model.prefix import ValuePrefix
from worldmodels.model.vector import Flat, VectorDynamics, VectorRepresentation
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import TransformedHead
from worldmodels.nn.mlp import MLP
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.simulator import from_model
from worldmodels.policy.searching import POLICY, VALUE
from worldmodels.stage.consistency import Cosine
from worldmodels.stage.muzero import MuZero, Scales
from worldmodels.stage.reanalyze import Again, Reanalyze

SPEC = EnvSpec("v", {"vector": ArraySpec((3,), "float32")}, 4)
K, N = 3, 2
LENGTH = K + N + 1


def model() -> Callable[[EnvSpec], muzero.MuZero]:
    head = partial(TransformedHead, units=8, bins=21, limit=5.0)
    return partial(
        muzero.MuZero,
        representation=partial(VectorRepresentation, encoder=partial(Encoder, units=8), size=6),
        dynamics=partial(VectorDynamics, units=8),
        neck=Flat,
        reward=head,
        value=head,
        prior=partial(MLP, width=8, depth=1),
    )


def q_model() -> Callable[[EnvSpec], muzero.MuZero]:
    head = partial(TransformedHead, units=8, bins=21, limit=5.0)
    return partial(model(), value=None, prior=None, q=head)


def prefix_model() -> Callable[[EnvSpec], muzero.MuZero]:
    return partial(model(), prefix=partial(ValuePrefix, units=8, horizon=2))


def learner(**options: Any) -> MuZero:
    torch.manual_seed(0)
    options = {"model": model(), "unroll": K, "n_step": N, "discount": 0.9, **options}
    stage = MuZero(SPEC, planner=Gumbel(simulations=2), **options)
    for p in stage.parameters():  # heads begin at zero
        p.data.add_(0.3 * torch.randn_like(p))
    return stage


def windows() -> Batch:
    """Windows that end at every step, by the world's end or by a clock, and whole ones; some were not searched."""
    rng = np.random.default_rng(0)
    ends = [(end, kind) for end in range(LENGTH) for kind in ("terminated", "truncated", "running")] + [(None, "whole")]
    shape = (len(ends), LENGTH)
    flags = {"terminated": np.zeros(shape, bool), "truncated": np.zeros(shape, bool)}
    mask = np.ones(shape, bool)
    for b, (end, kind) in enumerate(ends):
        if end is not None:
            mask[b, end + 1 :] = False
            if kind in flags:
                flags[kind][b, end] = True
    policy = rng.dirichlet(np.ones(4), size=shape) * mask[..., None]
    policy[3:7, 0] = 0  # lived at random
    numbers = {
        "obs": rng.normal(size=(len(ends), LENGTH + 1, 3)),
        "reward": rng.normal(size=shape) * mask,
        "value": rng.normal(size=shape) * mask,
        "policy": policy,
    }
    floats = {name: torch.from_numpy(array.astype(np.float32)) for name, array in numbers.items()}
    first = torch.zeros(len(ends), LENGTH + 1, dtype=torch.bool)
    return Batch(
        obs={"vector": floats["obs"]},
        action=torch.from_numpy(rng.integers(4, size=shape) * mask),
        reward=floats["reward"],
        **{name: torch.from_numpy(array) for name, array in flags.items()},
        first=first,
        mask=torch.from_numpy(mask),
        extras={POLICY: floats["policy"], VALUE: floats["value"]},
    )


def naive_value(batch: Batch, b: int, k: int) -> float | None:
    """The target of one moment, one step at a time; None where there is none."""
    steps = int(batch.mask[b].sum())
    over = bool(batch.terminated[b].any())
    if k >= steps:
        return 0.0 if over else None
    total, discount = 0.0, 1.0
    for t in range(k, k + N):
        if t == steps - 1 and not over:  # where it leads nobody has searched
            return total + discount * float(batch.extras[VALUE][b, t])
        total += discount * float(batch.reward[b, t])
        discount *= 0.9
        if batch.terminated[b, t]:
            return total
    return total + discount * float(batch.extras[VALUE][b, k + N])


def test_targets_are_those_that_one_would_work_out_by_hand() -> None:
    batch = windows()
    found = learner().targets(batch)
    for b in range(len(batch.mask)):
        steps, over = int(batch.mask[b].sum()), bool(batch.terminated[b].any())
        for k in range(K + 1):
            expected = naive_value(batch, b, k)
            assert bool(found.worth[b, k]) == (expected is not None), (b, k)
            if expected is not None:
                assert float(found.value[b, k]) == pytest.approx(expected, abs=1e-6), (b, k)
            searched = k < steps and float(batch.extras[POLICY][b, k].sum()) > 0
            assert bool(found.decided[b, k]) == searched
            assert bool(found.seen[b, k]) == (k <= steps)
        for k in range(K):
            assert bool(found.paid[b, k]) == (k < steps or over)
            assert float(found.reward[b, k]) == (float(batch.reward[b, k]) if k < steps else 0.0)
        for k in range(min(K + 1, steps)):
            assert int(found.action[b, k]) == int(batch.action[b, k])
    assert 0 < float(found.worth.float().mean()) < 1
    assert 0 < float(found.decided.float().mean()) < 1


@torch.no_grad()
def test_losses_are_those_of_the_naive_loop() -> None:
    scales = Scales(entropy=0.3)
    stage, batch = learner(consistency=partial(Cosine, hidden=8, projection=5), scales=scales), windows()
    torch.manual_seed(3)
    losses, _ = stage.losses(batch)
    torch.manual_seed(3)
    targets = stage.targets(batch)
    net, compare = stage.model, stage.consistency
    assert isinstance(compare, Cosine)
    total = dict.fromkeys(losses, 0.0)
    for b in range(len(batch.mask)):
        latent = net.encode({"vector": batch.obs["vector"][b, 0]})
        for k in range(K + 1):
            share = 1.0 if k == 0 else 1 / K
            if k:
                latent = net.advance(latent, F.one_hot(targets.action[b, k - 1], 4).float())
                if targets.paid[b, k - 1]:
                    told = net.told("reward", latent)
                    total["reward"] += share * float(net.number("reward").loss(told, targets.reward[b, k - 1]))
                if targets.seen[b, k]:
                    real = compare.projector(net.encode({"vector": batch.obs["vector"][b, k]}))
                    guess = compare.predictor(compare.projector(latent))
                    total["consistency"] += share * (1 - float(F.cosine_similarity(guess, real, dim=0)))
            if targets.worth[b, k]:
                told = net.told("value", latent)
                total["value"] += share * float(net.number("value").loss(told, targets.value[b, k]))
            if targets.decided[b, k]:
                chosen = net.prior(latent).log_softmax(-1)
                total["policy"] -= share * float((targets.policy[b, k] * chosen).sum())
                total["entropy"] += share * float((chosen.exp() * chosen).sum())
    for name, value in losses.items():
        assert float(value) == pytest.approx(getattr(scales, name) * total[name] / len(batch.mask), rel=1e-5), name
    assert set(losses) == set(vars(scales)) - {"gradient"}


def test_where_sums_of_rewards_are_told_they_are_learned_and_searched_by() -> None:
    """They begin anew after two moments: rewards r1, r2, r3 are told as r1, r1 + r2, r3."""
    stage, batch = learner(model=prefix_model()), windows()
    net, wanted = stage.model, stage.targets(batch)
    latents = stage.imagine(batch, wanted.action[:, :K])
    each, _ = stage.read(latents, wanted)
    belief, totals = net.start(latents[:, 0]), list[torch.Tensor]()
    for k in range(K):
        belief = net.imagine(belief, F.one_hot(wanted.action[:, k], 4).float())
        torch.testing.assert_close(belief.latent, latents[:, k + 1])
        told = net.told("reward", latents[:, 1:])[:, k]
        torch.testing.assert_close(belief.total, net.number("reward").mean(told))
        owed = wanted.reward[:, k] + (wanted.reward[:, 0] if k == 1 else 0)
        expected = net.number("reward").loss(told, owed) * wanted.paid[:, k]
        torch.testing.assert_close(each["reward"][:, k + 1], expected)
        torch.testing.assert_close(net.reward(belief), belief.total - (totals[0] if k == 1 else 0))
        totals.append(belief.total)


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


@torch.no_grad()
def test_values_of_actions_learn_from_what_was_done() -> None:
    stage, batch = learner(model=q_model()), windows()
    torch.manual_seed(3)
    losses, _ = stage.losses(batch)
    torch.manual_seed(3)
    targets, net, total = stage.targets(batch), stage.model, 0.0
    for b in range(len(batch.mask)):
        latent = net.encode({"vector": batch.obs["vector"][b, 0]})
        for k in range(K + 1):
            if k:
                latent = net.advance(latent, F.one_hot(targets.action[b, k - 1], 4).float())
            if targets.worth[b, k]:
                told = net.told("q", latent)[targets.action[b, k]]
                loss = net.heads["q"].loss(told, targets.value[b, k])
                total += (1.0 if k == 0 else 1 / K) * float(loss)
    assert float(losses["value"]) == pytest.approx(0.25 * total / len(batch.mask), rel=1e-5)
    assert "policy" not in losses
    latent = net.encode(batch.obs)
    torch.testing.assert_close(net.value(latent), net.prior(latent).amax(-1))


def test_without_imagination_it_is_plain_q_learning() -> None:
    stage = learner(model=q_model(), unroll=0, target={})
    losses, watched = stage.losses(windows())
    assert float(losses["reward"].detach()) == 0.0
    losses["value"].backward()
    assert all(p.grad is None for p in stage.model.dynamics.parameters())
    assert torch.isfinite(torch.stack(list(watched.values()))).all()


def test_what_is_searched_anew_with_the_same_weights_is_what_a_search_finds() -> None:
    stage, batch = learner(reanalyze=Reanalyze(ratio=0.5)), windows()
    stage.losses(batch)
    told = stage.beliefs()
    half = round(len(batch.mask) / 2)
    assert told["known"][:half].equal(batch.mask[:half])
    assert not told["known"][half:].any()
    policy = stage.policy()
    for b, t in told["known"].nonzero().tolist():
        obs = {"vector": batch.obs["vector"][b : b + 1, t].numpy()}
        _, _, found = policy.act(obs, np.ones(1, bool), None, explore=False, rng=Rng(0, "test"))
        np.testing.assert_allclose(told[POLICY][b, t], found[POLICY][0], atol=1e-5)
        np.testing.assert_allclose(told[VALUE][b, t], found[VALUE][0], atol=1e-5)
    elsewhere = ~told["known"]
    assert torch.equal(told[POLICY][elsewhere], batch.extras[POLICY][elsewhere])
    fresh = stage.targets(replace(batch, extras={name: told[name] for name in (POLICY, VALUE)}))
    torch.manual_seed(3)
    losses, _ = stage.losses(batch)
    torch.manual_seed(3)
    stage._again = Again(Reanalyze())
    again, _ = stage.losses(replace(batch, extras={name: told[name] for name in (POLICY, VALUE)}))
    assert all(torch.equal(losses[name], again[name]) for name in losses)
    assert bool((fresh.decided >= stage.targets(batch).decided).all())
    assert not stage.beliefs()


def test_another_process_finds_the_same_while_this_one_learns_from_what_was_known() -> None:
    here, elsewhere = (learner(reanalyze=Reanalyze(0.5, simulations=5, process=flag)) for flag in (False, True))
    batch = windows()
    try:
        for _ in range(2):  # the second time with other weights
            torch.manual_seed(3)
            losses, _ = elsewhere.losses(batch)
            here.losses(batch)
            for name, value in elsewhere.beliefs().items():
                torch.testing.assert_close(value, here.beliefs()[name])
            like = learner_like(elsewhere)
            torch.manual_seed(3)
            plain, _ = like.losses(batch)
            assert all(torch.equal(losses[name], plain[name]) for name in losses)
            for stage in (here, elsewhere):
                for p in stage.parameters():
                    p.data.mul_(1.3)
    finally:
        elsewhere.teardown("fit")


def learner_like(stage: MuZero) -> MuZero:
    made = learner()
    made.load_state_dict(stage.state_dict())
    return made


def again(stage: MuZero, batch: Batch) -> None:
    stage.losses(batch)
    stage.beliefs()


def test_a_search_process_that_dies_is_an_error_at_the_next_word_with_it() -> None:
    stage, batch = learner(reanalyze=Reanalyze(0.5, process=True)), windows()
    again(stage, batch)
    searcher = stage._again._searcher
    assert searcher is not None
    os.kill(searcher._process.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"exit code -9[\s\S]*stage\.reanalyze\.process=false"):
        again(stage, batch)
    assert time.monotonic() - began < 10


def test_what_is_found_anew_must_be_kept() -> None:
    stage, sampler = learner(reanalyze=Reanalyze(ratio=0.5)), Uniform(length=LENGTH, batch=4, pad=True)
    with pytest.raises(ConfigError, match=r"data\.refresh=true"):
        stage.demand(Replay(sampler))
    stage.demand(Replay(sampler, refresh=True))


def test_the_gradient_into_each_imagined_latent_is_halved() -> None:
    stage, batch = learner(), windows()
    action = batch.action[:, :K]
    weight = torch.randn(6, generator=torch.Generator().manual_seed(5))

    def encoder_gradient(k: int, scale: float) -> torch.Tensor:
        stage.scales = Scales(gradient=scale)
        latents = stage.imagine(batch, action)
        return torch.autograd.grad((latents[:, k] @ weight).sum(), stage.model.representation.out.weight)[0]

    for k in range(K + 1):
        torch.testing.assert_close(encoder_gradient(k, 0.5), 0.5**k * encoder_gradient(k, 1.0))


@torch.no_grad()
def test_weights_of_samples_act_on_each_for_itself() -> None:
    stage, batch = learner(), windows()
    weight = torch.rand(len(batch.mask), generator=torch.Generator().manual_seed(5))

    def value(batch: Batch) -> torch.Tensor:
        torch.manual_seed(3)
        return stage.losses(batch)[0]["value"]

    alone = [value(batch.map(lambda x, b=b: x[b : b + 1])) for b in range(len(weight))]
    weighted = Batch(**{**vars(batch), "weight": weight})
    drawn = torch.stack(alone)
    # Where the world has ended, actions are drawn: only windows without an end can be compared.
    whole = ~batch.terminated.any(1)
    weighted = weighted.map(lambda x: x[whole])
    torch.testing.assert_close(value(weighted), (weight * drawn)[whole].mean())


@torch.no_grad()
def test_prioritised_replay_is_told_how_wrong_the_first_value_was() -> None:
    stage, batch = learner(), windows()
    stage.losses(batch)
    told, targets = stage.feedback(), stage.targets(batch)
    assert told is not None
    for b in range(len(batch.mask)):
        value = stage.model.value(stage.model.encode({"vector": batch.obs["vector"][b, 0]}))
        assert float(told[b]) == pytest.approx(abs(float(value - targets.value[b, 0])), abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", [model, q_model, prefix_model], ids=["value", "q", "prefix"])
def test_its_simulator_says_what_one_made_of_its_heads_would(kind: Any) -> None:
    stage, batch = learner(model=kind()), windows()
    net, action = stage.model, torch.arange(len(batch.mask)) % 4
    belief = net.start(net.encode({"vector": batch.obs["vector"][:, 0]}))
    heads = {name: lambda at, name=name: getattr(net, name)(at.latent) for name in ("value", "prior")}
    heads["reward"] = net.reward
    plain, quick = from_model(net, heads, actions=4, discount=0.9), stage.simulator(torch.Generator())
    for one, other in zip(quick.root(belief)[1:], plain.root(belief)[1:], strict=True):
        torch.testing.assert_close(one, other)
    moves = (quick.recurrent(belief, action), plain.recurrent(belief, action))
    torch.testing.assert_close(moves[0].latent.latent, moves[1].latent.latent)
    for one, other in zip(moves[0][1:], moves[1][1:], strict=True):
        torch.testing.assert_close(one, other)


def test_what_does_not_go_with_it_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"max_considered=5 of 4 actions"):
        MuZero(SPEC, model(), Gumbel(max_considered=5))
    with pytest.raises(ConfigError, match=r"take model=muzero"):
        MuZero(SPEC, lambda spec: torch.nn.Linear(1, 1), Gumbel())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("length", "pad"), [(LENGTH - 1, True), (LENGTH, False)])
def test_windows_that_are_too_short_are_refused_before_anything_runs(length: int, pad: bool) -> None:
    with pytest.raises(ConfigError, match=rf"data\.sampler\.length={LENGTH} data\.sampler\.pad=true"):
        learner().demand(Replay(Uniform(length=length, batch=4, pad=pad)))
    learner().demand(Replay(Uniform(length=LENGTH, batch=4, pad=True)))
