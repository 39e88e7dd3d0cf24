"""What the meter makes of measurements that were not defined."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from worldmodels.callback.meter import Meter


def test_what_was_not_defined_does_not_count_but_a_loss_always_does(tmp_path: Path) -> None:
    meter = Meter(str(tmp_path / "metrics.csv"), every=10)
    nan = float("nan")
    told = {"probe/mse": [1.0, nan, 3.0], "loss/total": [1.0, nan], "never": [nan, nan]}
    meter.waiting = {name: [torch.tensor(value) for value in values] for name, values in told.items()}
    sums = meter.state_dict()["sums"]
    assert sums["probe/mse"] == [4.0, 2]
    assert math.isnan(sums["loss/total"][0])
    assert sums["loss/total"][1] == 2
    assert sums["never"] == [0.0, 0]
    meter.waiting = {"probe/mse": [torch.tensor(5.0)]}
    assert meter.state_dict()["sums"]["probe/mse"] == [9.0, 3]
