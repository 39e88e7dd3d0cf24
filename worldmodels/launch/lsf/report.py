"""What bjobs and bhist say of jobs: pages "bjobs -o", "bjobs -json" and "bhist" of the Command Reference."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from worldmodels.launch.lsf.ids import ours

FIELDS = ("jobid", "jobindex", "stat", "exit_code", "exit_reason", "exec_host")
DELIMITER = "^"
# Of submitit's words these mean "not finished": PENDING, RUNNING, PREEMPTED, UNKNOWN. A suspended job goes on later.
STATES = {
    "PEND": "PENDING",
    "WAIT": "PENDING",
    "PSUSP": "PENDING",
    "PROV": "PENDING",
    "RUN": "RUNNING",
    "USUSP": "PREEMPTED",
    "SSUSP": "PREEMPTED",
    "DONE": "COMPLETED",
    "EXIT": "FAILED",
}
ENDS = {"RUNLIMIT": "TIMEOUT", "DEADLINE": "TIMEOUT", "MEMLIMIT": "OUT_OF_MEMORY", "OWNER": "CANCELLED"}
ENDS |= {"ADMIN": "CANCELLED", "FORCE_OWNER": "CANCELLED", "FORCE_ADMIN": "CANCELLED"}


@dataclass(frozen=True)
class Report:
    """state: submitit's word. stat: LSF's. reason: such as `TERM_RUNLIMIT: job killed after ...`, or empty."""

    state: str
    stat: str
    exit_code: int | None = None
    reason: str = ""
    hosts: str = ""

    @property
    def finished(self) -> bool:
        return self.state not in ("PENDING", "RUNNING", "PREEMPTED", "UNKNOWN")

    def __str__(self) -> str:
        code = "" if self.exit_code is None else f", exit code {self.exit_code}"
        return f"{self.stat}{code}{', ' if self.reason else ''}{self.reason}"


def report(stat: str, exit_code: str = "", reason: str = "", hosts: str = "") -> Report:
    """From the texts of bjobs, in which `-` and nothing mean that there is nothing to tell."""
    code = int(exit_code) if exit_code.strip().isdigit() else 0 if stat == "DONE" else None
    reason = "" if reason.strip() == "-" else reason.strip()
    state = STATES.get(stat, "UNKNOWN")  # UNKWN, ZOMBI: LSF has lost sight of the host
    ended = re.search(r"TERM_([A-Z_]+)", reason)
    if stat == "EXIT" and ended:
        state = ENDS.get(ended[1], state)
    return Report(state, stat, code, reason, "" if hosts == "-" else hosts)


def read_bjobs(text: str) -> dict[str, Report]:
    """Reports by job, from JSON or from lines with delimiters. Jobs that bjobs does not know are not in it."""
    start = text.find("{")
    if start >= 0 and '"RECORDS"' in text:
        records = json.JSONDecoder(strict=False).raw_decode(text[start:])[0]["RECORDS"]
        return dict(_job(record) for record in records if record.get("STAT"))
    rows = (line.split(DELIMITER) for line in text.splitlines())
    names = [field.upper() for field in FIELDS]
    return dict(_job(dict(zip(names, row, strict=True))) for row in rows if len(row) == len(names) and row[0].strip())


def missing(text: str) -> set[str]:
    """The jobs of which bjobs or bhist says that they are not there: `Job <123[4]> is not found`."""
    found = re.findall(r"Job <(\d+(?:\[\d+\])?)>(?::)? is not found", text)
    return {ours(word) for word in [*found, *re.findall(r"No matching job found for <(\d+(?:\[\d+\])?)>", text)]}


def read_bhist(text: str) -> dict[str, Report]:
    """How jobs ended, from `bhist -l job ...`. Those of which it does not say that they did are not in it."""
    parts = re.split(r"^\s*Job <(\d+(?:\[\d+\])?)>", text, flags=re.MULTILINE)
    ends = ((ours(word), _end(told)) for word, told in zip(parts[1::2], parts[2::2], strict=True))
    return {job: end for job, end in ends if end is not None}


def _end(text: str) -> Report | None:
    """The last word on one job. Lines may be broken anywhere, so blanks mean nothing."""
    dense = re.sub(r"\s+", "", text)
    ended = re.findall(r"(Donesuccessfully|Exitedwithexitcode(\d+)|Exitedbysignal(\d+)|Exited[.;])", dense)
    again = [dense.rfind(word) for word in ("Requeued", "Pending:", "Dispatched", "Starting(")]
    if not ended or max(again) > dense.rfind(ended[-1][0]):
        return None
    whole, code, number = ended[-1]
    if whole == "Donesuccessfully":
        return report("DONE", "0")
    reason = re.findall(r"TERM_[A-Z_]+", dense)
    return report("EXIT", code or (str(128 + int(number)) if number else ""), reason[-1] if reason else "")


def _job(record: Mapping[str, str]) -> tuple[str, Report]:
    told = {name: str(value).strip() for name, value in record.items()}
    word = ours(told["JOBID"], told.get("JOBINDEX", "0"))
    hosts = told.get("EXEC_HOST", "")
    return word, report(told["STAT"], told.get("EXIT_CODE", ""), told.get("EXIT_REASON", ""), hosts)
