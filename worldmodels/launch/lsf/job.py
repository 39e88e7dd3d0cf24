"""A job of LSF as submitit sees it."""

from __future__ import annotations

import re
from typing import Any

from submitit.core import core, utils

from worldmodels.launch.lsf import commands
from worldmodels.launch.lsf.ids import element
from worldmodels.launch.lsf.watcher import LsfInfoWatcher

SETTLED = "already finished|is not found|no matching job"


class LsfJob(core.Job[Any]):
    """Its id is `123`, or `123_4` for the fourth element, counted from 1, of an array."""

    _cancel_command = "bkill"
    watcher = LsfInfoWatcher()

    def cancel(self, check: bool = True) -> None:
        """Kill it, or its element: INT, TERM and KILL, ten seconds apart by default, or out of the queue at once."""
        answer = commands.insist(["bkill", element(self.job_id)], settled=SETTLED)
        if check and answer.code != 0 and not re.search(SETTLED, answer.text, re.IGNORECASE):
            raise RuntimeError(f"bkill: {answer.text}")

    def _interrupt(self, timeout: bool = False) -> None:
        """What LSF does before a run limit, or where a site preempts by signals, for tests."""
        for name in ("USR2",) if timeout else ("TERM", "USR2"):
            answer = commands.insist(["bkill", "-s", name, element(self.job_id)], settled=SETTLED)
            if answer.code != 0:
                raise RuntimeError(f"bkill -s {name}: {answer.text}")

    def _get_outcome_and_result(self) -> tuple[str, Any]:
        try:
            return super()._get_outcome_and_result()
        except utils.UncompletedJobError as error:
            told = self.watcher.get_info(self.job_id, mode="cache").get("Text", "nothing")
            raise utils.UncompletedJobError(f"LSF says of job {element(self.job_id)}: {told}\n{error}") from error
