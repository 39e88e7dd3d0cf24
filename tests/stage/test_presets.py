"""Each published form of Dreamer learns, in small, with the model and the data that it chooses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from worldmodels.core.rng import Rng
from worldmodels.launch.build import build_stage
from worldmodels.launch.choices import conf
from worldmodels.launch.compose import config, make
from worldmodels.stage.behaviour import Imagination

SMALL = [
    "env=minatar",
    "model.recurrence={deter: 16, stoch: 2, classes: 4, hidden: 8}",
    "model.encoder.depth=2",
    "data.sampler={length: 5, batch: 3}",
    "data.warmup=48",
    "data.width=2",
    "data.piece=4",
    "stage.loss.free_bits=0.0",  # or so small latents teach their prior nothing
]
PRESETS = sorted(
    path.stem for path in (conf() / "stage").glob("*.yaml") if path.stem not in ("dqn", "ppo", "world_model", "muzero")
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_learns_with_all_its_parts(name: str, tmp_path: Path) -> None:
    cfg = config("train", [f"stage={name}", *SMALL])
    recipe, plan = make(cfg.env), make(cfg.data)
    stage = build_stage(cfg, plan.spec(recipe))
    stage.demand(plan)
    optimizer = stage.configure_optimizers()
    assert isinstance(stage.imagination, Imagination)
    stream = plan.stream(recipe, stage, tmp_path, Rng(0))
    before = {key: value.clone() for key, value in stage.named_parameters()}
    batches = iter(stream)
    for _ in range(3):
        optimizer.zero_grad()
        stage.training_step(next(batches), 0)["loss"].backward()
        stage.configure_gradient_clipping(optimizer)
        optimizer.step()
        stage.after_update()
    stream.close()
    still = {key for key, value in stage.named_parameters() if torch.equal(value, before[key])}
    late = {"slow_critic"} if stage.slow.every > 3 else set()
    assert {key for key in still if key.partition(".")[0] not in late} == set()
    assert all(value.isfinite().all() for value in stage.parameters())


def test_dreamerv2_acts_and_decays_as_its_code_does() -> None:
    """danijar/dreamerv2: a prefill of 200 thousand frames of Atari, 2e8 of which are its 5e7 steps; w *= 1 - wd."""
    cfg = config("train", ["stage=dreamerv2"])
    assert cfg.data.warmup * 4 == 200_000
    stage = build_stage(cfg, make(config("train", ["env=dummy"]).env).spec())
    groups = {group.name: group for group in stage.groups()}
    assert groups.keys() == {"model", "actor", "critic"}
    for group in groups.values():
        assert group.lr * group.weight_decay == pytest.approx(1e-6)


def test_a_preset_chooses_its_model_and_the_command_line_has_the_last_word() -> None:
    assert config("train", ["stage=r2dreamer"]).model.decoder is None
    assert config("train", ["stage=dreamerv2"]).model.recurrence.deter == 600
    cfg = config("train", ["stage=dreamerv3", "model=rssm", "data=replay"])
    assert (cfg.model.recurrence.deter, cfg.data.replay_context) == (2048, 0)


def test_rewards_are_squashed_where_the_originals_do_so() -> None:
    """danijar/dreamerv2, configs.yaml, `clip_rewards`; jurgisp/pydreamer, configs `atari` and (its port) `minatar`."""
    found = {name: config("train", [f"stage={name}"]).stage.loss.clip_rewards for name in PRESETS}
    squashing = {"dreamerv2", "dreamerv2_pydreamer_atari", "dreamerv2_pydreamer_minatar"}
    assert found == {name: "tanh" if name in squashing else None for name in PRESETS}


def test_replay_reaches_back_as_far_as_in_the_originals() -> None:
    """configs.yaml of danijar/dreamerv2 and of dreamerv3, pydreamer's `buffer_size`; ours is all that was lived."""
    found = {name: config("train", [f"stage={name}"]).data.sampler.capacity for name in PRESETS}
    million = {"dreamerv2": 2, "dreamerv3": 5, "r2dreamer": 5}
    million |= {name: 10 for name in PRESETS if "pydreamer" in name}
    assert found == {name: None if name == "dreamer" else million[name] * 10**6 for name in PRESETS}
