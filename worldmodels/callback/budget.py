"""When a run has had enough."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as L

from worldmodels.callback.moment import can_stop, stream
from worldmodels.callback.watcher import Watcher
from worldmodels.core.errors import ConfigError


class Budget(Watcher):
    """Stops at the first limit reached: updates, env steps, or hours of training over all sessions of the run.

    It stops where a checkpoint continues exactly, so an on-policy rollout that has begun is learned from to its end.
    """

    def __init__(self, updates: int | None, env_steps: int | None, hours: float | None) -> None:
        if updates is None and env_steps is None and hours is None:
            raise ConfigError(
                "a budget without limits", "at least one of updates, env_steps, hours", "set budget.updates"
            )
        self.limits = {"updates": updates, "env_steps": env_steps, "hours": hours}
        self.before = 0.0  # seconds of earlier sessions
        self.began: float | None = None

    @property
    def seconds(self) -> float:
        """Time spent in training, over all sessions."""
        return self.before + (0.0 if self.began is None else time.monotonic() - self.began)

    def fraction(self, trainer: L.Trainer) -> float:
        """How much of the budget is used, 0 to 1."""
        used = {
            "updates": trainer.global_step,
            "env_steps": stream(trainer).env_steps,
            "hours": self.seconds / 3600,
        }
        return min(1.0, max(used[name] / max(limit, 1e-12) for name, limit in self.limits.items() if limit is not None))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.began = time.monotonic()
        # A run killed between its last update and its evaluation has nothing left to learn.
        trainer.should_stop = trainer.should_stop or self.fraction(trainer) >= 1.0

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self.fraction(trainer) >= 1.0 and can_stop(trainer):
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.before, self.began = self.seconds, None

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = float(state_dict["seconds"])
