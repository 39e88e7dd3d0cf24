"""Inside a job: who we are, and how to be queued again.

Pages "Environment variables set for job execution" and "brequeue".
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from submitit.core import job_environment, logger, utils

from worldmodels.launch.lsf import commands
from worldmodels.launch.lsf.hosts import hosts
from worldmodels.launch.lsf.ids import element
from worldmodels.launch.lsf.script import REQUEUE_CODE

REQUEUED = "is being requeued"


class LsfJobEnvironment(job_environment.JobEnvironment):
    """LSF tells the job; of tasks it knows nothing, so `tasks` tells them who they are."""

    _env = {  # noqa: RUF012 - as submitit declares it
        "job_id": "LSB_JOBID",
        "num_tasks": "WORLDMODELS_LSF_NUM_TASKS",
        "num_nodes": "WORLDMODELS_LSF_NUM_NODES",
        "node": "WORLDMODELS_LSF_NODE",
        "global_rank": "WORLDMODELS_LSF_RANK",
        "local_rank": "WORLDMODELS_LSF_LOCAL_RANK",
    }

    @property
    def array_job_id(self) -> str | None:
        """None for a job that is no array: its LSB_JOBINDEX is 0."""
        return self.raw_job_id if self.array_task_id else None

    @property
    def array_task_id(self) -> str | None:
        index = os.environ.get("LSB_JOBINDEX", "0")
        return None if index in ("", "0") else index

    @property
    def hostnames(self) -> list[str]:
        return list(hosts(os.environ)) or [self.hostname]

    def _handle_signals(self, paths: utils.JobPaths, submission: utils.DelayedSubmission) -> None:
        """As submitit does it, but once: LSF signals at the warning and again at the run limit.

        The second one would come in the middle of a slow checkpoint, and start another.
        """
        super()._handle_signals(paths, submission)
        warned: Callable[[int, FrameType | None], Any] = signal.getsignal(self._usr_sig())  # type: ignore[assignment]

        def once(number: int, frame: FrameType | None) -> None:
            signal.signal(number, signal.SIG_IGN)
            warned(number, frame)

        signal.signal(self._usr_sig(), once)

    def _requeue(self, countdown: int) -> None:
        code = os.environ.get(REQUEUE_CODE)
        word = element(self.job_id)
        logger.get_logger().info(f"Queueing job {word} again ({countdown} remaining timeouts)")
        if code:
            raise SystemExit(int(code))
        # brequeue kills this very process: neither it nor our waiting for it may fall to the signals that then come.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        answer = commands.insist(["brequeue", word], settled=REQUEUED, apart=True)
        if answer.code != 0 and REQUEUED not in answer.text:
            raise utils.UncompletedJobError(f"checkpointed, but brequeue {word} failed: {answer.text}")
