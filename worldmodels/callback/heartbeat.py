"""Signs of life, for those who watch a run from outside."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as L

from worldmodels.callback.budget import Budget
from worldmodels.callback.meter import Meter
from worldmodels.callback.moment import find, stream
from worldmodels.callback.watcher import Watcher
from worldmodels.core.options import Rate
from worldmodels.evaluation.status import Status


class Heartbeat(Watcher):
    """Writes the moment and the newest numbers into the run's status file, every so many seconds."""

    def __init__(self, folder: str, every: Rate) -> None:
        self.folder, self.every = Path(folder), every
        self.due = 0.0
        self.start = (0.0, 0)  # moment, updates

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.start = (time.monotonic(), trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if time.monotonic() >= self.due:
            self._beat(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self._beat(trainer)

    def _beat(self, trainer: L.Trainer) -> None:
        self.due = time.monotonic() + self.every
        status = Status.read(self.folder)
        if status is not None and trainer.is_global_zero:
            replace(status, heartbeat=time.time(), last=self._numbers(trainer)).write(self.folder)

    def _numbers(self, trainer: L.Trainer) -> dict[str, float]:
        meter, budget = find(trainer, Meter), find(trainer, Budget)
        seconds = max(time.monotonic() - self.start[0], 1e-9)
        numbers: dict[str, float] = {
            "env_steps": stream(trainer).env_steps,
            "updates": trainer.global_step,
            "updates_per_second": (trainer.global_step - self.start[1]) / seconds,
        }
        if budget:
            numbers["progress"] = budget.fraction(trainer)
        if meter and "return" in meter.last:
            numbers["return"] = float(meter.last["return"])
        return numbers
