"""What stage=muzero refuses, or tells beforehand."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from unrolls import LENGTH, SPEC, learner, model, q_model

from worldmodels.core.errors import ConfigError
from worldmodels.data.replay import Replay
from worldmodels.data.sampler import Uniform
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.sampled import Sampled
from worldmodels.planner.ucb_q import UcbQ
from worldmodels.stage.muzero import MuZero, Scales
from worldmodels.stage.reanalyze import Reanalyze


def test_what_does_not_go_with_it_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"max_considered=5 of 4 actions"):
        MuZero(SPEC, model(), Gumbel(max_considered=5))
    with pytest.raises(ConfigError, match=r"take model=muzero"):
        MuZero(SPEC, lambda spec: torch.nn.Linear(1, 1), Gumbel())  # pyright: ignore[reportArgumentType]


def test_a_search_that_the_world_or_the_model_can_not_be_searched_by_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"numbered actions[\s\S]*planner=gumbel"):
        MuZero(SPEC, model(), Sampled())
    with pytest.raises(ConfigError, match=r"head `q`[\s\S]*planner=ucb_q"):
        MuZero(SPEC, q_model(), Gumbel())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"eval_simulations": 10**6}, "stage.eval_simulations"),
        ({"reanalyze": Reanalyze(ratio=0.5, simulations=10**6)}, "stage.reanalyze.simulations"),
    ],
)
def test_more_simulations_than_any_search_has_are_refused_by_the_name_of_the_option(
    options: dict[str, Any], name: str
) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(name)}=1000000[\s\S]*at most 100,000"):
        learner(**options)


def test_it_is_said_beforehand_that_nothing_is_searched() -> None:
    assert learner().remarks() == []
    assert "planner.simulations=0: nothing is searched" in learner(planner=Gumbel(simulations=0)).remarks()[0]
    assert "own values" in learner(model=q_model(), planner=UcbQ(simulations=0)).remarks()[0]
    again = learner(reanalyze=Reanalyze(ratio=0.5, simulations=0)).remarks()
    assert [line.partition("=")[0] for line in again] == ["stage.reanalyze.simulations"]


def test_a_search_by_what_nobody_learns_is_refused_or_told() -> None:
    for options, name in (
        ({"planner": Gumbel(simulations=2)}, "planner.simulations=2"),
        ({"planner": Gumbel(simulations=0), "eval_simulations": 3}, "stage.eval_simulations=3"),
        (
            {"planner": Gumbel(simulations=0), "reanalyze": Reanalyze(ratio=0.5, simulations=8)},
            "stage.reanalyze.simulations=8",
        ),
    ):
        with pytest.raises(ConfigError, match=rf"{re.escape(name)} with stage\.unroll=0"):
            learner(unroll=0, **options)
    with pytest.raises(ConfigError, match=r"stage\.unroll=0, whose model has not learned what follows"):
        learner(unroll=0, planner=Gumbel(simulations=0)).simulator(torch.Generator())
    (told,) = learner(scales=Scales(reward=0.0)).remarks()
    assert "go by rewards that nothing teaches" in told
    evaluated = learner(scales=Scales(reward=0.0), planner=Gumbel(simulations=0), eval_simulations=3).remarks()
    assert "go by rewards that nothing teaches" in evaluated[-1]
    with pytest.raises(ConfigError, match=r"search_values=false with stage\.target"):
        learner(target={}, search_values=False)
    told, *_ = learner(model=q_model(), planner=UcbQ(simulations=4), scales=Scales(entropy=0.5)).remarks()
    assert told == "stage.scales.entropy=0.5: there is no such loss here"
    assert learner(model=q_model(), planner=UcbQ(simulations=4)).remarks() == []
    (told,) = learner(eval_simulations=0).remarks()
    assert "evaluations search nothing" in told


@pytest.mark.parametrize(("length", "pad"), [(LENGTH - 1, True), (LENGTH, False)])
def test_windows_that_are_too_short_are_refused_before_anything_runs(length: int, pad: bool) -> None:
    with pytest.raises(ConfigError, match=rf"data\.sampler\.length={LENGTH} data\.sampler\.pad=true"):
        learner().demand(Replay(Uniform(length=length, batch=4, pad=pad)))
    learner().demand(Replay(Uniform(length=LENGTH, batch=4, pad=True)))
