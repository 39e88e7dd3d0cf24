"""What every callback asks about the moment it is in."""

from __future__ import annotations

from typing import Any, TypeVar

import pytorch_lightning as L

C = TypeVar("C", bound=L.Callback)


def stream(trainer: L.Trainer) -> Any:
    """The running stream of experience (data.module.Data owns it)."""
    return trainer.datamodule.stream  # type: ignore[attr-defined]


def epoch_ends(trainer: L.Trainer) -> bool:
    """The update just done was the last of its epoch."""
    return bool(trainer.is_last_batch)


def can_stop(trainer: L.Trainer) -> bool:
    """A checkpoint cut after this update continues exactly.

    That holds at the end of an epoch for every stream, and anywhere for streams that say they are `divisible`: those
    that draw each batch afresh. An on-policy rollout is not; its epoch is one rollout, and takes seconds.
    """
    return epoch_ends(trainer) or bool(getattr(stream(trainer), "divisible", False))


def find(trainer: L.Trainer, kind: type[C]) -> C | None:
    """The callback of that class, if the run has one."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]
