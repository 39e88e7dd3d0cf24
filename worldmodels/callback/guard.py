"""A loss that is not a number ends the run before it can do harm."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as L
import torch

from worldmodels.callback.watcher import Watcher
from worldmodels.core.errors import UserError
from worldmodels.core.experience import Batch


class DivergedError(UserError):
    """A loss became infinite or not a number."""


class Guard(Watcher):
    """Stops at a loss that is not finite, keeping the batch that caused it; no checkpoint is cut after it.

    The batch lies in `path` as plain tensors: `torch.load(path)` gives its fields by name, and the update's number.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002 (Lightning's signature)
        outputs: Any,
        batch: Any,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        loss = float(outputs["metrics"]["loss/total"])  # of all processes that learn
        if math.isfinite(loss):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"update": trainer.global_step, "batch": _plain(batch)}, self.path)
        wrong = [name for name, value in outputs["metrics"].items() if not math.isfinite(float(value))]
        raise DivergedError(
            f"the loss is {loss} at update {trainer.global_step}; not finite: {', '.join(wrong) or 'the total alone'}",
            "a finite loss",
            f"look at the batch, kept in {self.path}; lower the learning rate or the gradient clip, in a run of "
            "another name. If a checkpoint was cut before, it is untouched, and the same command continues from it",
        )


def _plain(batch: Any) -> Any:
    if not isinstance(batch, Batch):
        return batch
    fields = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    return {name: dict(value) if name in ("obs", "extras") else value for name, value in fields.items()}
