from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from unrolls import K, learner, model, prefix_model, q_model, windows

from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.simulator import from_model
from worldmodels.planner.ucb_q import UcbQ
from worldmodels.policy.searching import POLICY, VALUE
from worldmodels.stage.consistency import Buffered, Cosine, Projecting, looking
from worldmodels.stage.muzero import Scales
from worldmodels.stage.reanalyze import Reanalyze
from worldmodels.stage.search_losses import read


@pytest.mark.parametrize("kind", [Cosine, Buffered])
def test_slow_copies_of_the_model_and_of_what_compares_follow_after_each_update(kind: Any) -> None:
    rates: dict[str, Any] = {"target": {"rate": 0.25}}
    stage = learner(consistency=partial(kind, **rates), target={"rate": 0.5})
    assert isinstance(stage.consistency, Projecting)
    assert stage.slow is not None
    assert stage.consistency.slow is not None
    copies = {0.5: stage.slow.module.parameters(), 0.25: stage.consistency.slow.module.parameters()}
    sources = {0.5: stage.model.parameters(), 0.25: looking(stage.model, stage.consistency.projector).parameters()}
    kept = {rate: [p.clone() for p in copies[rate]] for rate in copies}
    with torch.no_grad():
        for p in {*stage.model.parameters(), *stage.consistency.projector.parameters()}:
            p += 1.0
    stage.after_update()
    for rate, followed in {0.5: stage.slow.module, 0.25: stage.consistency.slow.module}.items():
        for was, now, source in zip(kept[rate], followed.parameters(), sources[rate], strict=True):
            torch.testing.assert_close(now, was + rate * (source - was))


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
    each, _, _ = read(net, latents, wanted)
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


@torch.no_grad()
def test_values_of_actions_learn_from_what_was_done() -> None:
    stage, batch = learner(model=q_model(), planner=UcbQ()), windows()
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
    stage = learner(model=q_model(), planner=UcbQ(simulations=0), unroll=0, target={})
    losses, watched = stage.losses(windows())
    assert float(losses["reward"].detach()) == 0.0
    losses["value"].backward()
    assert all(p.grad is None for p in stage.model.dynamics.parameters())
    assert torch.isfinite(torch.stack(list(watched.values()))).all()


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
        known = bool(targets.worth[b, 0])
        assert float(told[b]) == pytest.approx(known * abs(float(value - targets.value[b, 0])), abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", [model, q_model, prefix_model], ids=["value", "q", "prefix"])
def test_new_windows_are_rated_as_those_that_were_learned_from_are(kind: Any) -> None:
    stage, batch = learner(model=kind(), planner=UcbQ() if kind is q_model else Gumbel()), windows()
    rated = stage.surprise_of(batch)
    stage.losses(batch)
    told = stage.feedback()
    assert told is not None
    assert len(rated.unique()) > 10
    torch.testing.assert_close(rated, told)


@torch.no_grad()
def test_it_is_told_which_share_of_the_values_its_head_can_not_say() -> None:
    stage, batch = learner(), windows()
    assert float(stage.losses(batch)[1]["value_clipped"]) == 0
    head, targets = stage.model.number("value"), stage.targets(batch)
    head.reach = float(targets.value.abs().median())
    share = float(((targets.value.abs() > head.reach) & targets.worth.bool()).sum() / targets.worth.sum())
    assert 0 < share < 1
    assert float(stage.losses(batch)[1]["value_clipped"]) == pytest.approx(share)


@torch.no_grad()
@pytest.mark.parametrize("kind", [model, q_model, prefix_model], ids=["value", "q", "prefix"])
def test_its_simulator_says_what_one_made_of_its_heads_would(kind: Any) -> None:
    planner = UcbQ() if kind is q_model else Gumbel()
    stage, batch = learner(model=kind(), planner=planner), windows()
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


def test_all_that_is_learned_of_rewards_is_learned_of_them_clipped() -> None:
    batch = windows()
    found, plain = learner(clip_rewards="sign").targets(batch), learner().targets(batch)
    expected = learner().targets(replace(batch, reward=batch.reward.sign()))
    for name in ("reward", "value"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
        assert not torch.equal(getattr(found, name), getattr(plain, name))


@torch.no_grad()
def test_without_search_values_it_is_the_networks_own_word_that_is_kept() -> None:
    batch, options = windows(), {"reanalyze": Reanalyze(ratio=1.0)}
    plain, searching = learner(search_values=False, **options), learner(**options)
    own = plain.model.value(plain.model.encode({"vector": batch.obs["vector"][:, :-1]}))
    for stage, alike in ((plain, True), (searching, False)):
        obs = {"vector": batch.obs["vector"][:, 0].numpy()}
        _, _, lived = stage.policy().act(obs, np.ones(len(own), bool), None, explore=True, rng=Rng(0, "test"))
        assert np.allclose(lived[VALUE], own[:, 0], atol=1e-6) is alike
        stage.losses(batch)
        again = stage.beliefs()
        assert torch.allclose(again[VALUE][batch.mask], own[batch.mask], atol=1e-6) is alike
        assert not torch.allclose(again[POLICY][batch.mask], batch.extras[POLICY][batch.mask])


@pytest.mark.parametrize(("explore", "simulations"), [(True, 2), (False, 7)])
def test_evaluations_have_simulations_of_their_own(explore: bool, simulations: int) -> None:
    stage = learner(eval_simulations=7)
    imagined: list[int] = []
    stage.model.dynamics.register_forward_hook(lambda *_: imagined.append(1))
    obs = {"vector": np.zeros((3, 3), np.float32)}
    stage.policy().act(obs, np.ones(3, bool), None, explore=explore, rng=Rng(0, "test"))
    assert len(imagined) == simulations
