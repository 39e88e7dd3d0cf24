"""The control without layout: every frame keeps its cells, and none of them its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec
from worldmodels.data.segment import SegmentStream
from worldmodels.data.shuffle import demand_cells, permuted
from worldmodels.launch.build import build_stage
from worldmodels.launch.compose import config, make
from worldmodels.launch.record import record


def test_every_frame_keeps_its_cells_in_an_order_of_its_own() -> None:
    frame = torch.arange(5 * 4 * 3).view(5, 4, 3)
    found = permuted(frame.expand(2, 6, 5, 4, 3), Rng(0, "any"))
    cells = {tuple(cell) for cell in frame.flatten(0, 1).tolist()}
    orders = set()
    for each in found.flatten(0, 1):
        assert {tuple(cell) for cell in each.flatten(0, 1).tolist()} == cells, "a cell lost a channel, or was lost"
        orders.add(tuple(each[..., 0].flatten().tolist()))
    assert len(orders) == 12, "two frames were put into the same order"


def test_a_cell_comes_to_any_place_as_often_as_to_another() -> None:
    frame = torch.zeros(1, 1, 2, 2, 1)
    frame[..., 0, 0, 0] = 1
    share = permuted(frame.expand(4000, 1, 2, 2, 1), Rng(1)).mean((0, 1)).flatten()
    assert torch.allclose(share, torch.full((4,), 0.25), atol=0.03)


def test_windows_of_a_shuffled_recording_are_the_same_every_time_but_for_their_frames(tmp_path: Path) -> None:
    store = record(config("record", ["env=dummy", "env.game=dot", f"store={tmp_path / 'dot'}", "steps=300", "width=4"]))
    words = [f"data.store={store[0]}", "data=segment", "data.length=4", "data.batch=3", "data.updates=2"]

    def batches(*more: str) -> list[torch.Tensor]:
        cfg = config("train", [*words, *more])
        plan = make(cfg.data)
        stream = SegmentStream(plan, build_stage(cfg, plan.spec(None)), Rng(0))
        held = [batch.obs["image"] for batch in stream.validation() or ()]
        found = [*stream]
        return [*(batch.obs["image"] for batch in found), *held, *(batch.action for batch in found)]

    plain, one, two = batches(), batches("data.shuffle=cells"), batches("data.shuffle=cells")
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    pictures = [not torch.equal(a, b) for a, b in zip(plain, one, strict=True)]
    assert all(pictures[:-2]), "learned from and held out"
    assert not any(pictures[-2:]), "the actions stay"


def test_what_has_no_cells_can_not_be_shuffled() -> None:
    with pytest.raises(ConfigError, match="vector has no cells"):
        demand_cells({"vector": ArraySpec((3,), "float32")})
