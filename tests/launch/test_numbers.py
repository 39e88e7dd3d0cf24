from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from worldmodels.core.errors import ConfigError
from worldmodels.launch.numbers import RECORD, TRAIN, demand

GOOD = {
    "seed": 0,
    "threads": None,
    "budget": {"updates": 10, "env_steps": None, "hours": 0.5},
    "evaluation": {"episodes": 1},
}


@pytest.mark.parametrize(
    "word",
    [
        "seed=-1",
        "seed=abc",
        "seed=0.5",
        "seed=null",
        "threads=0",
        "budget.updates=-1",
        "budget.updates=1e3",
        "budget.hours=soon",
        "evaluation.episodes=0",
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(word):
    cfg = OmegaConf.merge(OmegaConf.create(GOOD), OmegaConf.from_dotlist([word]))
    with pytest.raises(ConfigError, match=word.split("=")[0]):
        demand(cfg, TRAIN)


def test_numbers_in_their_ranges_and_options_that_are_not_there_pass():
    demand(OmegaConf.create(GOOD), TRAIN)
    with pytest.raises(ConfigError, match="steps=0"):
        demand(OmegaConf.create({"seed": 3, "steps": 0}), RECORD)
