"""bsub: a script becomes a job, once. Pages "bsub" and "bjobs -J" of the Command Reference."""

from __future__ import annotations

import logging
import re
import time

from worldmodels.core.errors import UserError
from worldmodels.launch.lsf import commands

log = logging.getLogger(__name__)
ACCEPTED = re.compile(r"Job <(\d+)>")
LATE, LOOKS = 30.0, 3  # seconds before each look for a job whose bsub was given up; how many
REFUSED = "Job not submitted"  # what bsub ends its answer with when nothing was queued


class RefusedError(RuntimeError):
    """LSF will not take the job as it is, and has not."""


class UnansweredError(UserError):
    """Nobody can say whether a job was queued."""


def submit(text: str, name: str) -> str:
    """The number of the job. bsub is called again only after bjobs has said that no job of this unique name exists."""
    said = ""
    for pause in (*commands.waits(), 0.0):
        answer = commands.call(["bsub"], text)
        found = accepted(answer.out)
        if found:
            return found
        said = answer.text or f"exit code {answer.code}"
        if REFUSED in said:
            raise RefusedError(said)
        log.warning("bsub: %s; looking whether job %s was queued", said, name)
        # A call that we gave up may be in LSF's hands still, so that one is looked for longer.
        for moment in [LATE] * LOOKS if answer.code is None else [pause]:
            time.sleep(moment)
            found = find(name)
            if found:
                return found
    raise RefusedError(f"bsub gave no job number, and nothing was queued: {said}")


def accepted(out: str) -> str | None:
    """The number in bsub's answer, `Job <123> is submitted to queue <normal>.`"""
    found = ACCEPTED.search(out)
    return found[1] if found else None


def find(name: str) -> str | None:
    """The number of the job of this name; None where bjobs knows of none. Raises if bjobs can not tell."""
    answer = commands.insist(
        ["bjobs", "-a", "-noheader", "-o", "jobid", "-J", name], settled="is not found|no .*job found"
    )
    numbers = re.findall(r"^\s*(\d+)(?:\[\d+\])?\s*$", answer.out, re.MULTILINE)
    if numbers:
        return numbers[0]
    if re.search(r"is not found|no .*job found", answer.text, re.IGNORECASE) or (answer.code == 0 and not answer.text):
        return None
    raise UnansweredError(
        f"neither bsub nor bjobs answers: {answer.text}",
        "a scheduler that can be reached",
        f"see later with `bjobs -a -J {name}` whether the job was queued; bkill it before you submit it again",
    )
