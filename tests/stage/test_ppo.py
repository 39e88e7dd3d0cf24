from __future__ import annotations

import math
from dataclasses import replace

import pytest
import pytorch_lightning as L
import torch
from torch.utils.data import DataLoader

from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.stage.ppo import PPO, clipped

ARRAYS = {"vector": ArraySpec((3,), "float32")}
CHOICES = EnvSpec("choices", ARRAYS, 4)
NUMBERS = EnvSpec("numbers", ARRAYS, 2, discrete=False)


def agent(spec: EnvSpec = CHOICES, **options) -> PPO:
    torch.manual_seed(0)
    return PPO(spec, net={"encoder": {"units": 8}, "units": 8}, **options)


def rollout(spec: EnvSpec = CHOICES, lanes: int = 4, steps: int = 12) -> Batch:
    """Lane 0 terminates at step 3, lane 1 is truncated there; each then crosses into its next episode."""
    torch.manual_seed(1)
    mask = torch.ones(lanes, steps, dtype=torch.bool)
    mask[:2, 4] = False
    mask[3, -2:] = False  # padding
    ends = torch.zeros(2, lanes, steps, dtype=torch.bool)
    ends[0, 0, 3] = ends[1, 1, 3] = True
    first = torch.zeros(lanes, steps + 1, dtype=torch.bool)
    first[:2, 5] = True
    raw = torch.randn(lanes, steps, 2)
    action = torch.randint(4, (lanes, steps)) if spec.discrete else raw.tanh()
    extras = {"logprob": torch.randn(lanes, steps) * 0.3 - 1.4, "value": torch.zeros(lanes, steps)}
    return Batch(
        obs={"vector": torch.randn(lanes, steps + 1, 3)},
        action=action,
        reward=torch.randn(lanes, steps) * mask,
        terminated=ends[0],
        truncated=ends[1],
        first=first,
        mask=mask,
        extras=extras if spec.discrete else {**extras, "raw": raw},
    )


def test_advantages_stop_at_ends_and_bootstrap_through_cuts():
    stage, lived = agent(discount=0.9, lam=0.8), rollout()
    ready = stage.prepare(lived)
    value = stage.net({"vector": lived.obs["vector"]})[1].detach()
    for b in range(4):
        after = 0.0
        for t in reversed(range(12)):
            if not lived.mask[b, t]:
                after = 0.0
                continue
            ahead = 0.0 if lived.terminated[b, t] else float(value[b, t + 1])
            surprise = float(lived.reward[b, t]) + 0.9 * ahead - float(value[b, t])
            ended = bool(lived.terminated[b, t] or lived.truncated[b, t])
            after = surprise + (0.0 if ended else 0.9 * 0.8 * after)
            assert float(ready.extras["advantage"][b, t]) == pytest.approx(after, abs=1e-5)
            assert float(ready.extras["return"][b, t]) == pytest.approx(after + float(value[b, t]), abs=1e-5)
    assert not ready.extras["advantage"].requires_grad


@pytest.mark.parametrize("clip_value", [None, 0.2])
@pytest.mark.parametrize("spec", [CHOICES, NUMBERS])
def test_losses_equal_a_loop_over_transitions(spec, clip_value):
    stage = agent(spec, clip_value=clip_value, value_weight=0.7, entropy_weight=0.03)
    batch = stage.prepare(rollout(spec))
    batch = replace(batch, extras={**batch.extras, "value": batch.extras["value"] + 0.5})
    losses, metrics = stage.losses(batch)
    rows = batch.mask.nonzero().tolist()
    advantages = torch.stack([batch.extras["advantage"][b, t] for b, t in rows])
    advantages = (advantages - advantages.mean()) / advantages.std(correction=0)
    policy = value = entropy = moved = far = 0.0
    for (b, t), advantage in zip(rows, advantages.tolist(), strict=True):
        made, v = stage.net({"vector": batch.obs["vector"][b, t]})
        said = batch.action[b, t] if spec.discrete else batch.extras["raw"][b, t]
        shift = float(made.log_prob(said) - batch.extras["logprob"][b, t])
        ratio = math.exp(shift)
        policy -= min(ratio * advantage, max(0.8, min(1.2, ratio)) * advantage)
        goal, before = float(batch.extras["return"][b, t]), float(batch.extras["value"][b, t])
        error = (float(v) - goal) ** 2
        if clip_value is not None:
            error = max(error, (before + max(-0.2, min(0.2, float(v) - before)) - goal) ** 2)
        value += 0.5 * error
        entropy += float(made.entropy())
        moved += ratio - 1 - shift
        far += abs(ratio - 1) > 0.2
    count = len(rows)
    assert count == 48 - 4
    assert float(losses["policy"]) == pytest.approx(policy / count, abs=1e-5)
    assert float(losses["value"]) == pytest.approx(0.7 * value / count, rel=1e-5)
    assert float(losses["entropy"]) == pytest.approx(-0.03 * entropy / count, rel=1e-5)
    assert float(metrics["kl"]) == pytest.approx(moved / count, rel=1e-4)
    assert float(metrics["clipped"]) == pytest.approx(far / count)


@pytest.mark.parametrize(("ratio", "advantage", "slope"), [(1.5, 1, 0), (1.5, -1, 1), (0.5, 1, 1), (0.5, -1, 0)])
def test_the_surrogate_stops_pulling_only_where_it_has_gained_enough(ratio, advantage, slope):
    r = torch.tensor(ratio, requires_grad=True)
    clipped(r, torch.tensor(float(advantage)), 0.2).backward()
    assert float(r.grad) == pytest.approx(-advantage * slope)


def fit(stage: PPO, steps: int) -> L.Trainer:
    """`steps` updates on one rollout that was lived by the stage's own policy."""
    lived = rollout()
    made, _ = stage.net({"vector": lived.obs["vector"][:, :-1]})
    batch = stage.prepare(replace(lived, extras={"logprob": made.log_prob(lived.action).detach()}))
    trainer = L.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(stage, DataLoader([batch] * steps, batch_size=None))
    return trainer


def test_a_refused_step_counts_and_moves_nothing_and_the_next_rollout_may_move_again():
    free, once, stopped = agent(lr=0.01), agent(lr=0.01), agent(lr=0.01, kl_stop=1e-6)
    fit(free, 4)
    fit(once, 1)
    trainer = fit(stopped, 4)  # the first step starts at distance 0, every later one is too far away
    assert trainer.global_step == 4
    assert all(torch.equal(p, q) for p, q in zip(once.parameters(), stopped.parameters(), strict=True))
    assert any(not torch.equal(p, q) for p, q in zip(once.parameters(), free.parameters(), strict=True))
    assert bool(stopped.stopped)
    stopped.prepare(rollout())
    assert not bool(stopped.stopped)


def test_an_annealed_rate_falls_linearly_to_zero():
    stage = agent(anneal=4, lr=0.1)
    seen = []
    original = stage.after_update
    stage.after_update = lambda: (seen.append(stage.optimizers().param_groups[0]["lr"]), original())[0]
    fit(stage, 5)
    assert seen == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.0])
