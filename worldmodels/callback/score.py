"""How well the agent does while it learns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TypeGuard

import pytorch_lightning as L

from worldmodels.callback.moment import epoch_ends, stream
from worldmodels.callback.watcher import Watcher
from worldmodels.core.options import Count
from worldmodels.evaluation.play import Play, aside
from worldmodels.evaluation.table import JsonTable
from worldmodels.stage.stage import Stage


class Score(Watcher):
    """Plays episodes without exploration every `every` epochs and writes a line of evaluation.jsonl.

    Uses worlds and generators of its own, so training is the same with and without it. Silent for stages without a
    policy and for training without a world. `improved` says that this update brought the best mean return so far.
    """

    def __init__(self, path: str, every: Count, episodes: Count, width: Count, limit: Count, seed: int) -> None:
        self.table, self.every = JsonTable(Path(path)), every
        self.play = Play(episodes, width, limit, seed)
        self.best: float | None = None
        self.improved = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.table.rewind(trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.improved = False
        if not (epoch_ends(trainer) and (trainer.current_epoch + 1) % self.every == 0 and acts(pl_module)):
            return
        recipe = trainer.datamodule.recipe  # type: ignore[attr-defined]
        if recipe is None:
            return
        began = time.monotonic()
        with aside(pl_module):
            names = ("score", trainer.global_step)
            summary = self.play.compare(recipe, pl_module.policy(), pl_module.others(), *names)
        times = {"env_steps": stream(trainer).env_steps, "updates": trainer.global_step, "final": False}
        self.table.append({**times, **summary, "took_seconds": round(time.monotonic() - began, 2)})
        for logger in trainer.loggers:
            logger.log_metrics({"score": summary["return_mean"]}, step=int(times["env_steps"] or times["updates"]))
        self.improved = self.best is None or summary["return_mean"] > self.best
        self.best = summary["return_mean"] if self.improved else self.best

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


def acts(stage: L.LightningModule) -> TypeGuard[Stage]:
    """The stage offers a policy."""
    return isinstance(stage, Stage) and type(stage).policy is not Stage.policy
