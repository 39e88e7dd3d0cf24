"""One call of bjobs tells of all jobs; what it has forgotten, bhist may still know."""

from __future__ import annotations

import logging
import re
import time

from submitit.core import core

from worldmodels.launch.lsf import commands
from worldmodels.launch.lsf.ids import element
from worldmodels.launch.lsf.report import DELIMITER, FIELDS, Report, missing, read_bhist, read_bjobs

log = logging.getLogger(__name__)
TOO_OLD = "(illegal|bad|invalid|unknown|unrecognized) option"  # bjobs before 10.1.0.2 knows no -json
AT_ONCE = 100  # jobs in one call of bhist
SILENT = 10  # times as long if bhist does not answer at all: searching old event logs takes long at large sites
UNHEARD = 120.0  # seconds after which a job that neither bjobs nor bhist knows counts as ended


class LsfInfoWatcher(core.InfoWatcher):
    """The states of all jobs of this process.

    LSF forgets a finished job after CLEAN_PERIOD (an hour by default), and a job that was queued a moment ago may not
    be known yet. So one that bjobs does not find is looked for with bhist, and stays UNKNOWN, which is waited for,
    until `unheard` seconds have gone by; then it is FORGOTTEN, which ends the wait. A result that it left still counts.
    """

    def __init__(self, delay_s: int = 60, unheard: float = UNHEARD) -> None:
        super().__init__(delay_s)
        self.unheard = unheard
        self.json = True  # until bjobs says that it is too old for it
        self.lost: dict[str, float] = {}  # job -> when it was first not found

    def _make_command(self) -> list[str] | None:
        jobs = sorted({job.partition("_")[0] for job in self._registered - self._finished}, key=int)
        if not jobs:
            return None
        fields = " ".join(FIELDS)
        if self.json:
            return ["bjobs", "-a", "-json", "-o", fields, *jobs]
        return ["bjobs", "-a", "-noheader", "-o", f"{fields} delimiter='{DELIMITER}'", *jobs]

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        return self.get_info(job_id, mode=mode).get("State") or "UNKNOWN"

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        text = string if isinstance(string, str) else string.decode(errors="replace")
        return {job: info(each) for job, each in read_bjobs(text).items()}

    def update(self) -> None:
        """Ask LSF. A call that fails changes nothing: the next one will tell."""
        command = self._make_command()
        if command is None:
            return
        answer = self._ask(command)
        if self.json and re.search(TOO_OLD, answer.err, re.IGNORECASE):
            self.json = False
            answer = self._ask(self._make_command() or command)
        try:
            told = self.read_info(answer.out)
        except (ValueError, KeyError) as damage:
            log.warning("bjobs: %s can not be read (%r); asking again later", answer.out[:200], damage)
            return
        if not told and not missing(answer.text):
            log.warning("bjobs: %s; asking again later", answer.text[:200] or f"exit code {answer.code}")
            return
        self._info_dict.update(told)
        for job in told:
            self.lost.pop(job, None)
        lost = sorted(self._registered - self._finished - set(told))
        for start in range(0, len(lost), AT_ONCE):
            self._look_back(lost[start : start + AT_ONCE])
        self._finished |= {job for job in self._registered - self._finished if self.is_done(job, mode="cache")}

    def _ask(self, command: list[str]) -> commands.Answer:
        self._num_calls += 1
        answer = commands.call(command)
        self._output = answer.out.encode()
        self._last_status_check = time.time()
        return answer

    def _look_back(self, jobs: list[str]) -> None:
        answer = commands.call(["bhist", "-l", "-n", "0", *map(element, jobs)])
        ended, answered = read_bhist(answer.out), answer.code == 0 or missing(answer.text)
        for job in jobs:
            unheard = time.time() - self.lost.setdefault(job, time.time())
            if job in ended:
                self._info_dict[job] = info(ended[job])
            elif unheard > self.unheard * (1 if answered else SILENT):
                self._info_dict[job] = info(Report("FORGOTTEN", "not known to LSF any more"))


def info(each: Report) -> dict[str, str]:
    """As submitit keeps it."""
    code = "" if each.exit_code is None else str(each.exit_code)
    return {
        "State": each.state,
        "Stat": each.stat,
        "ExitCode": code,
        "Reason": each.reason,
        "NodeList": each.hosts,
        "Text": str(each),
    }
