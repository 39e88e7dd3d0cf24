"""A search through the beliefs of a world model, and the page that tells of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tables import Table, random_table, states
from torch import Tensor

from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import SpecError
from worldmodels.core.protocols import WorldModel
from worldmodels.planner.gumbel import Gumbel
from worldmodels.planner.simulator import from_model

PAGE = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()


@dataclass(frozen=True)
class Place(Belief):
    """A state of a table, the reward on arriving there, and whether the world goes on."""

    state: Tensor
    reward: Tensor
    cont: Tensor


class Walker:
    """A table as a world model."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def initial(self, batch: int) -> Place:
        return Place(torch.zeros(batch, dtype=torch.int64), torch.zeros(batch), torch.ones(batch))

    def encode(self, obs: Mapping[str, Tensor]) -> Tensor:
        return obs["state"]

    def observe(self, belief: Place, action: Tensor, embed: Tensor, *, rng: torch.Generator | None = None) -> Place:
        return Place(embed, torch.zeros(len(embed)), torch.ones(len(embed)))

    def imagine(self, belief: Place, action: Tensor, *, rng: torch.Generator | None = None) -> Place:
        assert action.dtype is torch.float32
        assert (action.sum(1) == 1).all()
        edge = belief.state, action.argmax(1)
        return Place(self.table.next[edge], self.table.reward[edge], (self.table.discount[edge] > 0).float())

    def decode(self, belief: Place) -> Prediction:
        return Prediction(reward=belief.reward)

    def heads(self) -> dict:
        return {
            "reward": lambda belief: belief.reward,
            "cont": lambda belief: belief.cont,
            "value": lambda belief: self.table.value[belief.state],
            "prior": lambda belief: self.table.prior[belief.state],
        }


def test_beliefs_are_searched_as_the_world_they_are_of() -> None:
    table, start = random_table(), states(16)
    model: WorldModel = Walker(table)
    belief = model.observe(model.initial(16), torch.zeros(16, 4), start)
    planner = Gumbel(simulations=20)
    simulator = from_model(model, model.heads(), actions=4, discount=0.97)
    found = planner.plan(simulator, belief, rng=np.random.default_rng(0))
    bare = planner.plan(table.simulator(), start, rng=np.random.default_rng(0))
    assert torch.equal(found.tree.edges, bare.tree.edges)
    assert torch.equal(found.action, bare.action)


def test_without_a_head_for_it_the_world_always_goes_on() -> None:
    model = Walker(random_table())
    heads = {name: head for name, head in model.heads().items() if name != "cont"}
    simulator = from_model(model, heads, actions=4, discount=0.9)
    move = simulator.recurrent(model.observe(model.initial(4), torch.zeros(4, 4), states(4)), torch.arange(4))
    assert move.discount.tolist() == pytest.approx([0.9] * 4)


def test_heads_that_a_model_lacks_are_named() -> None:
    model = Walker(random_table())
    heads = {name: head for name, head in model.heads().items() if name in ("reward", "cont")}
    with pytest.raises(SpecError, match=r"without a head for value and prior; it has reward, cont"):
        from_model(model, heads, actions=4, discount=0.9)


def test_the_pages_snippets_run_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    model = Walker(random_table(actions=6))
    belief = model.observe(model.initial(3), torch.zeros(3, 6), states(3))
    names = {"model": model, "belief": belief, **model.heads()}
    first, *rest = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(first, "planning.md", "exec"), names)
    told = capsys.readouterr().out.strip()
    assert f"prints `{told}`" in PAGE
    for snippet in rest:
        exec(compile(snippet, "planning.md", "exec"), names)
