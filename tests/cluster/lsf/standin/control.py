"""bkill, bstop, bresume, brequeue, blaunch: the pages of these names, and "Send a signal to a job"."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

from standin import store


def bkill(argv: list[str]) -> int:
    """INT, TERM and KILL, JOB_TERMINATE_INTERVAL apart, or one signal with -s. A pending job ends at once."""
    name = argv[argv.index("-s") + 1] if "-s" in argv else None
    return _each(_words(argv), lambda job: _signal(job, name) if name else _kill(job))


def bstop(argv: list[str]) -> int:
    """STOP for sequential jobs, TSTP for parallel ones; pending jobs are held."""

    def stop(job: store.Job) -> str:
        if job["stat"] == "PEND":
            job["stat"] = "PSUSP"
        elif job["stat"] == "RUN":
            send(job, "TSTP" if len(job["hosts"]) > 1 else "STOP")
            job["stat"] = "USUSP"
        store.event(job, "The job has been suspended by user")
        return "is being stopped"

    return _each(_words(argv), stop)


def bresume(argv: list[str]) -> int:
    def resume(job: store.Job) -> str:
        if job["stat"] == "PSUSP":
            job["stat"] = "PEND"
        elif job["stat"] in store.SUSPENDED:
            send(job, "CONT")
            job["stat"] = "RUN"
        return "is being resumed"

    return _each(_words(argv), resume)


def brequeue(argv: list[str]) -> int:
    """Kills a running or suspended job and puts it back into the queue under its number."""

    def requeue(job: store.Job) -> str:
        if job["stat"] != "RUN" and job["stat"] not in store.SUSPENDED:
            return ""
        _doom(job, "requeued")
        job["requeue"] = True
        return "is being requeued"

    return _each(_words(argv), requeue)


def blaunch(argv: list[str]) -> int:
    """`blaunch [-no-shell] -z host command ...`: here a process of this machine that is told another host's name."""
    words = [word for word in argv if word != "-no-shell"]
    host = words[words.index("-z") + 1]
    if host not in os.environ["LSB_HOSTS"].split():
        sys.stderr.write(f"blaunch: Host <{host}> is not allocated for job <{os.environ['LSB_JOBID']}>\n")
        return 255
    return subprocess.call(words[words.index("-z") + 2 :], env={**os.environ, "LSF_STANDIN_HOST": host})


def send(job: store.Job, name: str) -> None:
    """To all processes of the job."""
    if job["pid"] is not None:
        try:
            os.killpg(job["pid"], getattr(signal, f"SIG{name}"))
        except ProcessLookupError:
            return
        store.event(job, f"Signal <{name}> requested by user or administrator <user>")


def _words(argv: list[str]) -> list[str]:
    return [word for word in argv if re.fullmatch(r"\d+(\[\d+\])?", word)]


def _each(words: list[str], action) -> int:
    code = 0
    if not words:
        sys.stderr.write("Job ID must be specified\n")
        return 255
    with store.cluster() as state:
        for word in words:
            jobs = [job for job in store.chosen(state, word) if not store.forgotten(job)]
            if not jobs:
                sys.stderr.write(f"Job <{word}>: No matching job found\n")
                code = 255
            elif all(job["stat"] in store.FINISHED for job in jobs):
                sys.stderr.write(f"Job <{word}>: Job has already finished\n")
                code = 255
            else:
                said = [action(job) for job in jobs if job["stat"] not in store.FINISHED]
                if any(said):
                    print(f"Job <{word}> {next(filter(None, said))}")
                else:
                    sys.stderr.write(f"Job <{word}>: Operation is in illegal state\n")
                    code = 255
    return code


def _signal(job: store.Job, name: str) -> str:
    send(job, name)
    return "is being signaled"


def _kill(job: store.Job) -> str:
    if job["stat"] in ("PEND", "PSUSP"):
        job |= {"stat": "EXIT", "reason": "TERM_OWNER: job killed by owner", "ended": time.time()}
        store.event(job, "Signal <KILL> requested by user or administrator <user>")
        store.event(job, "Exited; TERM_OWNER: job killed by owner")
    else:
        _doom(job, "TERM_OWNER: job killed by owner")
    return "is being terminated"


def _doom(job: store.Job, cause: str) -> None:
    now, interval = time.time(), store.setting("INTERVAL", 10)
    job["doom"] = [[now, "INT"], [now + interval, "TERM"], [now + 2 * interval, "KILL"]]
    job["cause"] = cause
