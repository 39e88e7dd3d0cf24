"""What two runs must share to count as the same, for every test that interrupts one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

PARTS = ("state_dict", "optimizer_states", "global_step", "Data")


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimizer, worlds, generators and place in the store are equal to the last bit."""
    a, b = (torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (one, other))
    for part in PARTS:
        assert_same(a[part], b[part], part)


def assert_same(a: Any, b: Any, path: str = "") -> None:
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for name in a:
            assert_same(a[name], b[name], f"{path}/{name}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{path}/{i}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path
