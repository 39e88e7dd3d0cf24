"""Where a model thinks it is, and what that says about the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

B_ = TypeVar("B_", bound="Belief")  # not typing.Self: the tests' shape checker can not follow it


@dataclass(frozen=True)
class Belief:
    """A model's state of mind. Subclasses add tensors that share their leading dimensions."""

    def map(self: B_, f: Callable[[Tensor], Tensor]) -> B_:
        return replace(self, **{x.name: f(getattr(self, x.name)) for x in fields(self)})


@dataclass(frozen=True)
class Prediction:
    """What a belief says about the world on arrival. A model fills what it models."""

    obs: Mapping[str, Tensor] | None = None
    reward: Tensor | None = None  # (...,) mean, in the units of the env
    cont: Tensor | None = None  # (...,) probability that the world goes on


def stack(beliefs: Sequence[B_], dim: int = 1) -> B_:
    """Beliefs of successive moments, each (B, ...), as one of (B, T, ...)."""
    head = beliefs[0]
    columns = {x.name: torch.stack([getattr(b, x.name) for b in beliefs], dim) for x in fields(head)}
    return replace(head, **columns)
