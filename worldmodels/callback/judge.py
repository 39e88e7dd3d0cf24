"""A world model's loss on a recording that it never learns from, wherever its own experience comes from."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytorch_lightning as L
import torch
from torch import Tensor

from worldmodels.callback.moment import stream
from worldmodels.callback.watcher import Watcher
from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count
from worldmodels.core.rng import Rng
from worldmodels.core.spec import EnvSpec
from worldmodels.data.sampler import Uniform
from worldmodels.data.store import EpisodeStore
from worldmodels.evaluation.play import aside
from worldmodels.evaluation.table import JsonTable
from worldmodels.stage.model_loss import learn
from worldmodels.stage.world_model import WorldModel


class Judge(Watcher):
    """Writes a line of judged.jsonl before the first update and after every `every`: losses on windows of `store`.

    They are the weighted losses of training, `loss/<name>` and `loss/total`, and the KL, also of a model that learns no
    more; every run that is judged by the same recording sees the same windows and draws the same latents, so that runs
    compare however they act. Silent without a store, and for stages without a world model.
    """

    def __init__(self, path: str, store: str | None, every: Count, length: Count, batch: Count, batches: Count) -> None:
        self.table, self.store, self.every = JsonTable(Path(path)), store, every
        self.sampler, self.count = Uniform(length, batch, cross=True), batches
        self.windows: list[Batch] = []
        if store is not None and not (Path(store) / "store.json").is_file():
            raise ConfigError(
                f"callback.judge.store={store}: there is no episode store",
                "the folder of a recording",
                "record one: python record.py env=<name> policy=random steps=10000, or set callback.judge.store=null",
            )

    def demand(self, stage: L.LightningModule) -> None:
        """Draws the windows, too; SpecError or ConfigError if the recording is of another world, or too short."""
        if self.store is None or not isinstance(stage, WorldModel):
            return
        store = EpisodeStore.open(self.store)
        try:
            self._demand(store, stage.spec)
            self.windows = [self.sampler.sample(store, Rng(0, "judge", number)) for number in range(self.count)]
        finally:
            store.close()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.windows or not isinstance(pl_module, WorldModel):
            return
        self.table.rewind(trainer.global_step)
        if trainer.global_step == 0:
            self._judge(trainer, pl_module)

    def _demand(self, store: EpisodeStore, spec: EnvSpec) -> None:
        if differences := spec.differences(store.spec):
            raise SpecError(
                f"callback.judge.store={self.store} is a recording of another world than this run's:\n    "
                + "\n    ".join(differences),
                "the observations and actions that the run learns from",
                "record it with the same options of env, such as env.unify, or set callback.judge.store=null",
            )
        if store.steps < self.sampler.length:
            raise ConfigError(
                f"callback.judge.store={self.store} holds {store.steps} steps",
                f"at least the {self.sampler.length} of a window",
                "record more first, or set callback.judge.length to fewer steps, or callback.judge.store=null",
            )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self.windows and trainer.global_step % self.every == 0 and isinstance(pl_module, WorldModel):
            self._judge(trainer, pl_module)

    def _judge(self, trainer: L.Trainer, stage: WorldModel) -> None:
        began = time.monotonic()
        times = {"updates": trainer.global_step, "env_steps": stream(trainer).env_steps}
        losses = judged(stage, self.windows)
        self.table.append({**times, **losses, "took_seconds": round(time.monotonic() - began, 2)})


def judged(stage: WorldModel, windows: list[Batch]) -> dict[str, float]:
    """Means over batches of windows."""
    found: dict[str, list[Tensor]] = defaultdict(list)
    with aside(stage):
        torch.manual_seed(0)
        for batch in windows:
            learned = learn(stage.model, stage.taken(batch.to(stage.device)), stage.loss)
            total = torch.stack(list(learned.losses.values())).sum()
            for name, value in {"total": total, **learned.losses}.items():
                found[f"loss/{name}"].append(value)
            found["kl"].append(learned.metrics["kl"])
    return {name: float(torch.stack(values).mean()) for name, values in found.items()}
