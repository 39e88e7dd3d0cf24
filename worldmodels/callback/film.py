"""What the model imagines, to look at and to measure, while it learns."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytorch_lightning as L

from worldmodels.callback.interrupt import Interrupt
from worldmodels.callback.meter import Meter
from worldmodels.callback.moment import epoch_ends, find, stream
from worldmodels.callback.score import acts
from worldmodels.callback.watcher import Watcher
from worldmodels.core.experience import Batch
from worldmodels.core.options import Count
from worldmodels.core.rng import Rng
from worldmodels.evaluation.film import film, filmable, shoot
from worldmodels.evaluation.fresh import fresh
from worldmodels.evaluation.openloop import Curve, merge, open_loop
from worldmodels.evaluation.play import aside
from worldmodels.ops.picture import encode_gif
from worldmodels.stage.stage import Stage

VERBS = ("encode", "observe", "imagine", "decode")


class Film(Watcher):
    """An open-loop film and its errors by horizon, every `every` epochs and at the end: <folder>/<updates>.{gif,json}.

    The model sees `context` moments and imagines up to `horizon` more, given the actions that were taken; in episodes
    that are held out, or played just now by the agent. Their means go into the meter's next row. A model that decodes
    no observation leaves no film, but its errors. Silent for stages without a world model, named `model`.
    """

    def __init__(
        self, folder: str, every: Count, context: Count, horizon: Count, windows: Count, batches: Count, seed: int
    ) -> None:
        self.folder, self.every, self.seed = Path(folder), every, seed
        self.context, self.horizon, self.windows, self.batches = context, horizon, windows, batches
        self.newest = -1

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if epoch_ends(trainer) and (trainer.current_epoch + 1) % self.every == 0:
            self._shoot(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        interrupt = find(trainer, Interrupt)
        if (interrupt is None or interrupt.received is None) and self.newest != trainer.global_step:
            self._shoot(trainer, pl_module)

    def _shoot(self, trainer: L.Trainer, stage: L.LightningModule) -> None:
        model: Any = getattr(stage, "model", None)
        if not isinstance(stage, Stage) or not all(hasattr(model, verb) for verb in VERBS):
            return
        rng = Rng(self.seed, "film", trainer.global_step)
        with aside(stage):
            batches = [stage.taken(batch) for batch in self._batches(trainer, stage, rng)]
            horizon = min([self.horizon, *(batch.mask.shape[1] + 1 - self.context for batch in batches)])
            if not batches or horizon < 1:
                return
            length = {"context": self.context, "horizon": horizon}
            curve = merge([open_loop(model, batch, **length, rng=rng.torch) for batch in batches])
            name, gif = _name(batches[0]), None
            if filmable(model, name):
                shot = shoot(model, batches[0], **length, rng=rng.torch, windows=self.windows, name=name)
                gif = encode_gif(film(shot))
        self._keep(trainer, curve, gif)

    def _batches(self, trainer: L.Trainer, stage: Stage, rng: Rng) -> list[Batch]:
        """Held-out windows of the recording, or windows played just now; none without either."""
        validation = getattr(stream(trainer), "validation", None)
        windows = None if validation is None else validation()
        recipe = trainer.datamodule.recipe  # type: ignore[attr-defined]
        if windows is not None:
            return [batch.to(stage.device) for batch in islice(windows, self.batches)]
        if recipe is None or not acts(stage):
            return []
        length = self.context + self.horizon - 1
        played = fresh(recipe, stage.policy(), rng.child("play"), windows=8 * self.batches, length=length)
        return [played.to(stage.device)]

    def _keep(self, trainer: L.Trainer, curve: Curve, gif: bytes | None) -> None:
        self.newest = updates = trainer.global_step
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{updates:08d}"
        if gif is not None:
            path.with_suffix(".gif").write_bytes(gif)
        told = {"updates": updates, "env_steps": stream(trainer).env_steps, "rows": curve.rows()}
        told["rare"] = {name: count.tolist() for name, count in curve.rare.items()}
        path.with_suffix(".json").write_text(json.dumps(told))
        meter = find(trainer, Meter)
        if meter is not None:
            means = {f"ahead/{name}": value for name, value in curve.means().items()}
            meter.note({name: value for name, value in means.items() if not name.endswith(("/copy", "/mean"))})


def _name(batch: Batch) -> str:
    """What to film: pictures rather than numbers."""
    return max(batch.obs, key=lambda name: batch.obs[name].ndim)
