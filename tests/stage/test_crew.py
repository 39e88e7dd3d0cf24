from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from worldmodels.core.errors import ConfigError, WorkerError
from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config, make
from worldmodels.stage.crew import Crew, deal
from worldmodels.stage.reanalyze import Reanalyze
from worldmodels.stage.stage import Stage

WORDS = [
    "+experiment=gumbel_muzero", "env=dummy", "data.width=4", "data.warmup=100", "data.sampler.batch=12",
    "planner.simulations=2", "data.refresh=true", "stage.reanalyze.ratio=0.25", "model.representation.size=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Batch]:
    cfg = config("train", WORDS)
    recipe, plan = make(cfg.env), make(cfg.data)
    spec = plan.spec(recipe)
    stream = plan.stream(recipe, build_stage(cfg, spec), tmp_path_factory.mktemp("run"), Rng(0, "data"))
    batch = next(iter(stream))
    stream.close()
    assert batch.terminated.any(), "where the world has ended actions are drawn, which has to be done alike"
    assert not batch.mask.all()
    return cfg, batch


def stage_of(cfg: Any, *, crew: int = 0, ratio: float = 0.25) -> Stage:
    cfg = OmegaConf.merge(cfg, {"stage": {"reanalyze": {"ratio": ratio}}})
    stage = build_stage(cfg, make(cfg.data).spec(make(cfg.env)))
    for p in stage.parameters():  # heads begin at zero
        p.data.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    stage.crew = Crew(["cpu"] * crew, Rng(0, "crew"), tells=True) if crew else None
    stage.shares = crew or 1
    return stage


def gradients(stage: Stage, batch: Batch) -> dict[str, torch.Tensor]:
    stage.zero_grad()
    stage.training_step(batch, 0)["loss"].backward()
    stage.on_after_backward()
    return {name: p.grad for name, p in stage.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("ratio", "count"), [(1.0, 3), (0.25, 3), (0.5, 2), (0.1, 4), (0.01, 2)])
def test_several_processes_work_out_the_gradients_that_one_does(
    lived: tuple[Any, Batch], ratio: float, count: int
) -> None:
    """Of the last two ratios some share, or the whole batch, has nothing to be searched anew."""
    cfg, batch = lived
    alone, together = stage_of(cfg, ratio=ratio), stage_of(cfg, crew=count, ratio=ratio)
    learner = together.learner()
    try:
        for _ in range(2):
            one, three = gradients(alone, batch), gradients(together, batch)
            assert one.keys() == three.keys()
            for name, value in one.items():
                torch.testing.assert_close(three[name], value, rtol=1e-4, atol=1e-6, msg=name)
            surprise, expected = learner.feedback(), alone.feedback()
            assert surprise is not None
            assert expected is not None
            torch.testing.assert_close(surprise, expected, rtol=1e-4, atol=1e-5)
            told, wanted = learner.beliefs(), alone.beliefs()
            assert told.keys() == wanted.keys()
            for name, value in wanted.items():
                torch.testing.assert_close(told[name], value, rtol=1e-4, atol=1e-5)
            for stage in (alone, together):  # the others are told of the weights
                for p in stage.parameters():
                    p.data.mul_(1.1)
    finally:
        together.teardown("fit")


def test_a_learner_that_dies_is_an_error_at_the_next_update(lived: tuple[Any, Batch]) -> None:
    cfg, batch = lived
    stage = stage_of(cfg, crew=2)
    gradients(stage, batch)
    crew = stage.crew
    assert crew is not None
    os.kill(crew._processes[0].pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"learner 1 of 2 died with exit code -9"):
        gradients(stage, batch)


def test_a_batch_that_can_not_be_shared_is_refused(lived: tuple[Any, Batch]) -> None:
    cfg, batch = lived
    with pytest.raises(ConfigError, match=r"a batch of 12 for 5 processes[\s\S]*make it 15"):
        stage_of(cfg, crew=5).training_step(batch, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_what_is_searched_anew_is_dealt_out_to_all(count: int, ratio: float) -> None:
    dealt = deal(96, count)
    assert sorted(dealt.flatten().tolist()) == list(range(96))
    each = torch.stack([Reanalyze(ratio).chosen(rows + update).sum() for rows in dealt for update in range(8)])
    assert each.min() > 0.4 * ratio * 96 / count
    assert each.max() < 1.8 * ratio * 96 / count
