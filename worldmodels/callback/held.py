"""Losses on episodes that are not learned from."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytorch_lightning as L
import torch
from torch import Tensor

from worldmodels.callback.meter import Meter
from worldmodels.callback.moment import epoch_ends, find, stream
from worldmodels.callback.watcher import Watcher
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count
from worldmodels.evaluation.play import aside
from worldmodels.evaluation.surprise import surprises
from worldmodels.stage.stage import Stage


class Held(Watcher):
    """Mean losses and metrics over held-out windows, as `held/<name>` in the meter's next row, every `every` epochs.

    Of a world model that tells also its negative log-likelihoods, after each look and one step before it. Silent where
    nothing is held out, as in online learning. The windows are the same every time.
    """

    def __init__(self, every: Count) -> None:
        self.every = every

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        meter = find(trainer, Meter)
        if meter is None or not (epoch_ends(trainer) and (trainer.current_epoch + 1) % self.every == 0):
            return
        validation = getattr(stream(trainer), "validation", None)
        windows = None if validation is None else validation()
        if windows is not None and isinstance(pl_module, Stage):
            meter.note({f"held/{name}": value for name, value in held(pl_module, windows).items()})


def held(stage: Stage, windows: Any) -> dict[str, float]:
    """Means over batches of windows."""
    found: dict[str, list[Tensor]] = defaultdict(list)
    model: Any = getattr(stage, "model", None)
    batches: list[Batch] = [batch.to(stage.device) for batch in windows]
    with aside(stage):
        torch.manual_seed(0)  # the same latents are drawn every time
        for batch in batches:
            losses, metrics = stage.losses(batch)
            for name, value in {**{f"loss/{key}": loss for key, loss in losses.items()}, **metrics}.items():
                found[name].append(value)
        taken = [stage.taken(batch) for batch in batches]
        told = surprises(model, taken, torch.Generator().manual_seed(0)) if hasattr(model, "nll") else {}
    columns = {name: torch.stack(values) for name, values in found.items()}
    # A measurement may be undefined for a batch; a loss may not.
    means = {name: column.mean() if "loss/" in name else column.nanmean() for name, column in columns.items()}
    return {name: float(mean) for name, mean in means.items()} | told
