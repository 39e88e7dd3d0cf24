"""Ctrl-C and SIGTERM: stop soon, and lose nothing."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import pytorch_lightning as L

from worldmodels.callback.moment import can_stop
from worldmodels.callback.watcher import Watcher

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt(Watcher):
    """Ends training at the next update from which a checkpoint continues exactly; the checkpoint is cut right there.

    That is the running update for streams that can be cut anywhere, and the end of the rollout for on-policy ones. A
    second signal ends the process at once; the checkpoint before it stays.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.former: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        # Here and not earlier: Lightning sets a handler of its own when fit begins, which would stop at once.
        if threading.current_thread() is threading.main_thread():
            self.former = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self.received is not None and can_stop(trainer):
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self._restore()

    def _receive(self, number: int, frame: Any) -> None:  # noqa: ARG002
        if self.received is not None:
            raise SystemExit(128 + number)
        self.received = number
        name = signal.Signals(number).name
        sys.stderr.write(f"\n{name}: finishing this update and saving; once more to leave at once.\n")

    def _restore(self) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}
