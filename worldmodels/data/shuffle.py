"""Frames whose cells lie elsewhere: what is left of a recording if layout and dynamics are taken away.

A control for transfer. Each frame keeps its cells, so a model still learns that most of them are empty and how often
each content occurs; where things are, and how one frame follows from another, is noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec


def shuffled(batch: Batch, obs: Mapping[str, ArraySpec], rng: Rng) -> Batch:
    """The batch with the cells of every frame in an order of its own. Actions, rewards and ends stay."""
    cells = {name: x for name, x in batch.obs.items() if obs[name].kind != "vector"}
    return replace(batch, obs={**batch.obs, **{name: permuted(x, rng) for name, x in cells.items()}})


def permuted(frames: Shaped[Tensor, "B T h w C"], rng: Rng) -> Shaped[Tensor, "B T h w C"]:
    """The h x w cells of each frame in random order, each with all its C channels."""
    lead, (height, width, channels) = frames.shape[:2], frames.shape[2:]
    order = torch.rand(*lead, height * width, generator=rng.torch).argsort(-1)
    flat = frames.flatten(2, 3)
    return flat.gather(2, order[..., None].expand(-1, -1, -1, channels)).view(frames.shape)


def demand_cells(obs: Mapping[str, ArraySpec]) -> None:
    """ConfigError if nothing that is seen has cells."""
    if all(array.kind == "vector" for array in obs.values()):
        raise ConfigError(
            f"data.shuffle=cells, but {', '.join(obs)} has no cells",
            "an image, planes or symbols",
            "set data.shuffle=null",
        )
