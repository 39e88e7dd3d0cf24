"""What an analysis is given: a trained model at rest, and experience to show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from worldmodels.core.spec import EnvSpec
from worldmodels.data.store import EpisodeStore
from worldmodels.planner.simulator import Simulator

Progress = Callable[[float, str], None]  # share that is done, and what is being done


@dataclass(frozen=True)
class Subject:
    """A run that was trained, on the CPU, and a store of the same spec.

    `origin` tells where both come from, as plain data. `untrained` makes the same model with fresh weights; 0 gives
    those that the run began with. `simulator` makes the model one for a search, if it has what that takes.
    """

    title: str
    spec: EnvSpec
    model: nn.Module
    untrained: Callable[[int], nn.Module]
    store: EpisodeStore
    origin: Mapping[str, Any] = field(default_factory=dict)
    simulator: Callable[[torch.Generator], Simulator] | None = None


class Analysis(Protocol):
    """What a choice of `conf/analysis/` makes."""

    def __call__(self, subject: Subject, folder: Path, progress: Progress) -> dict[str, Any]:
        """Write arrays, tables, figures and a page into an empty folder; findings as plain data."""
        ...
