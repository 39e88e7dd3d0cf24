"""Ctrl-C, SIGTERM, and a scheduler that wants its place back: stop soon, and lose nothing."""

from __future__ import annotations

import os
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

    In a job of submitit there is one signal more, which comes before a time limit and before another job takes the
    place (USR2, or what SUBMITIT_PREEMPT_SIGNAL says). Training ends in the same way, and then launch.cluster.worker
    passes the signal on to submitit, which queues the job again. There a second signal changes nothing: a scheduler
    that means it kills.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.former: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        # Here and not earlier: Lightning sets a handler of its own when fit begins, which would stop at once.
        if threading.current_thread() is threading.main_thread():
            self.former = {number: signal.signal(number, self._receive) for number in (*SIGNALS, *_of_scheduler())}

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self.received is not None and can_stop(trainer):
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self._restore()

    def _receive(self, number: int, frame: Any) -> None:  # noqa: ARG002
        name, scheduled = signal.Signals(number).name, bool(_of_scheduler())
        if self.received is not None:
            if not scheduled or number == signal.SIGINT:
                raise SystemExit(128 + number)
            return
        self.received = number
        once_more = "" if scheduled else "; once more to leave at once"
        sys.stderr.write(f"\n{name}: finishing this update and saving{once_more}.\n")

    def _restore(self) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}


def _of_scheduler() -> tuple[signal.Signals, ...]:
    """The signal by which submitit asks for a requeue, in its jobs."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return ()
    return (signal.Signals["SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")],)
