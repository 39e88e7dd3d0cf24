"""What a person at the console wants to know while a run goes on."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as L
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from worldmodels.callback.budget import Budget
from worldmodels.callback.meter import Meter
from worldmodels.callback.moment import find, stream
from worldmodels.callback.watcher import Watcher
from worldmodels.core.options import Rate


class ProgressLine(Watcher):
    """Env steps, updates, return, loss, speed, time left: live on a terminal, else a line every `pause` seconds."""

    def __init__(self, pause: Rate) -> None:
        self.pause = pause
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        self.shown = 0.0
        self.start = (0.0, 0.0, 0)  # moment, share of the budget, updates

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.start = (time.monotonic(), self._fraction(trainer), trainer.global_step)
        self.shown = time.monotonic()
        if self.console.is_terminal:
            self.bar = Progress(
                BarColumn(bar_width=max(6, min(24, self.console.width - 78))),  # the text fits into 80 columns
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[text]}"),
                console=self.console,
                auto_refresh=False,
            )
            self.task = self.bar.add_task("train", total=1.0, text="")
            self.bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        now = time.monotonic()
        if now - self.shown >= (0.25 if self.bar else self.pause):
            self.shown = now
            self._show(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self._show(trainer)
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self._stop()

    def _show(self, trainer: L.Trainer) -> None:
        fraction = self._fraction(trainer)
        text = self.text(trainer, fraction)
        if self.bar:
            self.bar.update(self.task, completed=fraction, text=text, refresh=True)
        else:
            self.console.print(f"{fraction:4.0%}  {text}", highlight=False, soft_wrap=True)

    def text(self, trainer: L.Trainer, fraction: float) -> str:
        """For example `env 12,000 · upd 1,500 · return 2.31 · loss 4.02 · 11.2/s · 3:20 left`."""
        meter = find(trainer, Meter)
        row = meter.last if meter else {}
        spent = max(time.monotonic() - self.start[0], 1e-9)
        gained = fraction - self.start[1]
        acted = stream(trainer).env_steps
        parts = [f"env {acted:,}"] if acted else []
        parts += [f"upd {trainer.global_step:,}"]
        parts += [f"return {row['return']:.2f}"] if "return" in row else []
        parts += [f"loss {row['loss/total']:.3g}"] if "loss/total" in row else []
        parts += [f"{(trainer.global_step - self.start[2]) / spent:.1f}/s"]
        parts += [f"{clock(spent * (1 - fraction) / gained)} left"] if gained > 0 else []
        return " · ".join(parts)

    def _fraction(self, trainer: L.Trainer) -> float:
        budget = find(trainer, Budget)
        return budget.fraction(trainer) if budget else 0.0

    def _stop(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None


def clock(seconds: float) -> str:
    """For example `3:20` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
