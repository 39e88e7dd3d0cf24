"""Training metrics: summed on their device, written every N updates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as L
import torch
from torch import Tensor

from worldmodels.callback.budget import Budget
from worldmodels.callback.moment import find, stream
from worldmodels.callback.watcher import Watcher
from worldmodels.core.clock import Every
from worldmodels.core.options import Count
from worldmodels.evaluation.table import CsvTable

Number = int | float


class Meter(Watcher):
    """Writes the mean of what `training_step` returned as "metrics", and the episodes that ended meanwhile.

    Rows go to `path` (CSV) and to the Trainer's loggers. The x-axis is env steps, or updates where no world is stepped.
    A window that a checkpoint cuts in two goes on when the run is resumed, and rows after the checkpoint are dropped,
    so an interrupted run leaves the same table. Nothing is read from the device between two writes.
    """

    def __init__(self, path: str, every: Count) -> None:
        self.table = CsvTable(Path(path))
        self.every = Every(every)
        self.waiting: dict[str, list[Tensor]] = {}
        self.sums: dict[str, tuple[float, int]] = {}  # what waited when a checkpoint was cut
        self.ended: list[tuple[float, int]] = []  # return and length of finished episodes
        self.noted: dict[str, Number] = {}  # what others want in the next row
        self.last: dict[str, Number] = {}  # newest value of every column
        self.episodes = 0
        self.mark = (time.monotonic(), 0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.table.rewind(trainer.global_step)
        self.mark = (time.monotonic(), trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002 (Lightning's signature)
        outputs: Any,
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        for name, value in outputs["metrics"].items():
            self.waiting.setdefault(name, []).append(value)
        if self.every(trainer.global_step):
            self._write(trainer)

    @property
    def newest(self) -> dict[str, Number]:
        """The last value of every column, and what waits for the next row."""
        return {**self.last, **self.noted}

    def note(self, values: Mapping[str, Number]) -> None:
        """Write these in the next row, too."""
        self.noted |= values

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        return {
            "sums": {name: list(pair) for name, pair in self.sums.items()},
            "ended": [list(pair) for pair in self.ended],
            "noted": dict(self.noted),
            "episodes": self.episodes,
            "every": self.every.snapshot(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.sums = {name: (total, count) for name, (total, count) in state_dict["sums"].items()}
        self.ended = [(score, length) for score, length in state_dict["ended"]]
        self.noted, self.episodes = dict(state_dict["noted"]), state_dict["episodes"]
        self.every.restore(state_dict["every"])

    def _settle(self) -> None:
        """Turn waiting tensors into sums; one transfer from the device for all of them."""
        if not self.waiting:
            return
        totals = torch.stack([_total(name, values) for name, values in self.waiting.items()]).tolist()
        for name, (total, counted) in zip(self.waiting, totals, strict=True):
            before, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (before + total, count + round(counted))
        self.waiting = {}

    def _write(self, trainer: L.Trainer) -> None:
        self._settle()
        self.ended += stream(trainer).drain()
        self.episodes += len(self.ended)
        row = {**self._times(trainer), "episodes": self.episodes, **self._returns()}
        row |= {name: total / count for name, (total, count) in self.sums.items() if count}
        row |= self.noted
        self.sums, self.ended, self.noted, self.last = {}, [], {}, {**self.last, **row}
        self.table.append(row)
        for logger in trainer.loggers:
            logger.log_metrics(row, step=int(row["env_steps"] or row["updates"]))

    def _times(self, trainer: L.Trainer) -> dict[str, Number]:
        now, updates = time.monotonic(), trainer.global_step
        speed = (updates - self.mark[1]) / max(now - self.mark[0], 1e-9)
        self.mark = (now, updates)
        budget = find(trainer, Budget)
        return {
            "env_steps": stream(trainer).env_steps,
            "updates": updates,
            "seconds": budget.seconds if budget else 0.0,
            "updates_per_second": speed,
        }

    def _returns(self) -> dict[str, Number]:
        if not self.ended:
            return {}
        scores, lengths = zip(*self.ended, strict=True)
        return {"return": float(np.mean(scores)), "length": float(np.mean(lengths))}


def _total(name: str, values: list[Tensor]) -> Tensor:
    """Their sum, and how many count: all of a loss, of others those that were defined at their update."""
    column = torch.stack(values).double()
    counted = torch.ones_like(column) if "loss/" in name else (~column.isnan()).double()
    return torch.stack([torch.where(counted > 0, column, 0).sum(), counted.sum()])
