"""LSF's commands, called so that a slow or failing scheduler costs time and nothing else."""

from __future__ import annotations

import logging
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds that one call may take; LSF's commands wait for their daemon for ever
ATTEMPTS = 6
LONGEST = 60.0  # seconds between two attempts


@dataclass(frozen=True)
class Answer:
    """code: None where the command did not end in time."""

    code: int | None
    out: str
    err: str

    @property
    def text(self) -> str:
        return f"{self.out.strip()}\n{self.err.strip()}".strip()


def call(words: Sequence[str], text: str | None = None, patience: float = PATIENCE, apart: bool = False) -> Answer:
    """One call, whatever comes of it; a command that is not there is like one that failed, with code 127.

    text: for its standard input. apart: in a session of its own, so that signals for our group do not reach it.
    """
    try:
        done = subprocess.run(
            list(words), input=text, capture_output=True, text=True, timeout=patience, start_new_session=apart
        )
    except subprocess.TimeoutExpired as late:
        return Answer(None, _text(late.stdout), f"{_text(late.stderr)}\nno answer in {patience:g} s")
    except FileNotFoundError:
        return Answer(127, "", f"there is no command {words[0]} here")
    return Answer(done.returncode, done.stdout, done.stderr)


def waits(attempts: int = ATTEMPTS, first: float = 1.0) -> Iterator[float]:
    """Seconds to sleep after each failed attempt but the last: 1, 2, 4, ..."""
    return (min(first * 2**number, LONGEST) for number in range(attempts - 1))


def insist(words: Sequence[str], settled: str = "", apart: bool = False) -> Answer:
    """A call that is made again, with growing pauses, until it succeeds; the last answer if it never does.

    For commands that do no harm when they are repeated. settled: a pattern of what LSF says when there is nothing left
    to do, such as a job that has already finished.
    """
    for pause in waits():
        answer = call(words, apart=apart)
        if answer.code in (0, 127) or (settled and re.search(settled, answer.text, re.IGNORECASE)):
            return answer
        log.warning("%s: %s; again in %g s", words[0], answer.text or f"exit code {answer.code}", pause)
        time.sleep(pause)
    return call(words, apart=apart)


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
