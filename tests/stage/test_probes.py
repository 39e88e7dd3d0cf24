"""Probes beside a world model: they learn, and as long as they are asked to, change nothing but themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dreams
import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.core.spec import ArraySpec
from worldmodels.stage.optim import Optim
from worldmodels.stage.stage import Stage

GOALS = ArraySpec((2, 2), "float32")
SPEC = replace(dreams.SPEC, extras={"goals_direction": GOALS})
PROBES = {"goals": {"units": 8, "layers": 1}}


def batch() -> Any:
    lived = dreams.batch()
    told = torch.randn(*lived.mask.shape, 2, 2, generator=torch.Generator().manual_seed(3))
    return replace(lived, extras={**lived.extras, "goals_direction": told})


def learned(updates: int = 3, **options: Any) -> Stage:
    torch.manual_seed(0)
    stage = dreams.dreamer(SPEC, **options)
    optimizer = stage.configure_optimizers()
    for seed in range(updates):
        torch.manual_seed(seed)
        optimizer.zero_grad()
        stage.training_step(batch(), 0)["loss"].backward()
        stage.configure_gradient_clipping(optimizer)
        optimizer.step()
        stage.after_update()
    return stage


def test_a_probe_learns_and_changes_no_bit_of_what_is_beside_it():
    plain, fresh, probed = learned(), learned(0, probes=PROBES), learned(probes=PROBES)
    weights, before = probed.state_dict(), fresh.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(weights[name], value), name
    own = set(weights) - set(plain.state_dict())
    assert own
    assert all(name.startswith("probes.goals.") for name in own)
    assert any(not torch.equal(weights[name], before[name]) for name in own)


def test_no_gradient_of_a_probe_reaches_the_model_unless_it_is_to_teach():
    for gradients in (False, True):
        stage = dreams.dreamer(SPEC, probes={**PROBES, "gradients": gradients})
        losses, metrics = stage.losses(batch())
        losses["probe/goals"].backward()
        reached = any(p.grad is not None and bool(p.grad.any()) for p in stage.model.rssm.parameters())
        assert reached == gradients
        assert all(p.grad is not None for p in stage.probes.parameters())
        assert {"probe/mse_goals", "probe/var_goals"} <= metrics.keys()


def test_probes_are_a_group_with_the_models_numbers_or_their_own():
    rates = {"model": 1e-3, "actor": 1e-4, "critic": 1e-4}
    stage = dreams.dreamer(SPEC, probes=PROBES, optim=Optim(lr=rates, clip=7.0))
    group = {each.name: each for each in stage.groups()}["probe"]
    assert (group.lr, group.clip) == (1e-3, 7.0)
    stage = dreams.dreamer(SPEC, probes=PROBES, optim=Optim(lr={**rates, "probe": 5e-2}))
    assert {each.name: each.lr for each in stage.groups()}["probe"] == 5e-2
    assert "probe" not in {each.name for each in dreams.dreamer(SPEC).groups()}


def test_they_read_the_feature_on_arrival_of_what_the_world_told_there():
    """With the answer in the feature itself a probe that looked one step aside would not find it."""
    stage = dreams.dreamer(SPEC, probes={"goals": {"units": 64, "layers": 1}})
    lived = batch()
    learned = stage.look(lived)
    feature = learned.beliefs.feature.detach().clone()
    feature[:, 1:, :4] = lived.extras["goals_direction"].flatten(2)
    beliefs = replace(learned.beliefs, deter=feature[..., : learned.beliefs.deter.shape[-1]])
    seen: list[torch.Tensor] = []
    stage.probes["goals"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    stage.probe(replace(learned, beliefs=beliefs))
    assert torch.equal(seen[0][..., :4], lived.extras["goals_direction"].flatten(2))


def test_a_world_that_does_not_tell_is_refused_before_anything_learns():
    with pytest.raises(ConfigError, match="goals_direction"):
        dreams.dreamer(probes=PROBES)
