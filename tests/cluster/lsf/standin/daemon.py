"""What mbatchd and sbatchd do: dispatch, warn, enforce the run limit, reap, requeue.

Pages "bsub -W", "bsub -wa", "Job states", "Environment variables set for job execution", "Automatic job requeue".
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from standin import store
from standin.control import send

TICK = 0.05  # seconds
RUNLIMIT = "TERM_RUNLIMIT: job killed after reaching LSF run time limit"
HOSTS = ("hostA", "hostB", "hostC", "hostD")


def main() -> None:
    running: dict[str, subprocess.Popen[bytes]] = {}
    store.root().mkdir(parents=True, exist_ok=True)
    (store.root() / "daemon.pid").write_text(str(os.getpid()))
    last = time.time()
    while True:
        now = time.time()
        with store.cluster() as state:
            for key, job in state["jobs"].items():
                if key in running:
                    _look(job, running, key, now - last)
                elif job["stat"] == "PEND" and _room(state, job):
                    running[key] = _start(job)
        last = now
        time.sleep(TICK)


def _room(state: dict[str, Any], job: store.Job) -> bool:
    active = [each for each in state["jobs"].values() if each["stat"] in ("RUN", *store.SUSPENDED)]
    siblings = [each for each in active if each["id"] == job["id"]]
    slots = sum(len(each["hosts"]) for each in active) + int(job["options"].get("-n", 1))
    return slots <= store.setting("SLOTS", 16) and not (job["limit"] and len(siblings) >= job["limit"])


def _start(job: store.Job) -> subprocess.Popen[bytes]:
    slots = int(job["options"].get("-n", 1))
    span = " ".join(job["options"]["-R"])
    tile = re.search(r"ptile=(\d+)", span)
    per_host = int(tile[1]) if tile else slots
    job["hosts"] = [HOSTS[slot // per_host] for slot in range(slots)]
    environ = {**job["env"], **_variables(job, per_host)}
    out, err = (job["options"].get(flag) for flag in ("-oo", "-eo"))
    with _open(job, out) as said, _open(job, err or out, overwrite=bool(err)) as complained:
        process = subprocess.Popen(
            ["/bin/bash", job["script"]],
            cwd=job["cwd"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            start_new_session=True,
        )
    job |= {"stat": "RUN", "pid": process.pid, "ran": 0.0, "warned": False, "limited": False, "doom": [], "cause": ""}
    job |= {"requeue": False, "attempts": job["attempts"] + 1, "exit_code": None, "reason": ""}
    store.event(job, f"Dispatched to <{job['hosts'][0]}>")
    store.event(job, f"Starting (Pid {process.pid})")
    return process


def _variables(job: store.Job, per_host: int) -> dict[str, str]:
    names = list(dict.fromkeys(job["hosts"]))
    return {
        "LSB_JOBID": str(job["id"]),
        "LSB_JOBINDEX": str(job["index"]),
        "LSB_JOBNAME": job["name"] + (f"[{job['index']}]" if job["index"] else ""),
        "LSB_QUEUE": job["options"].get("-q", "normal"),
        "LSB_HOSTS": " ".join(job["hosts"]),
        "LSB_MCPU_HOSTS": " ".join(f"{name} {per_host}" for name in names),
        "LSB_DJOB_NUMPROC": str(len(job["hosts"])),
    }


def _open(job: store.Job, path: str | None, *, overwrite: bool = True):
    if path is None:
        return Path(os.devnull).open("ab")
    file = Path(path.replace("%J", str(job["id"])).replace("%I", str(job["index"])))
    return file.open("wb" if overwrite else "ab")


def _look(job: store.Job, running: dict[str, subprocess.Popen[bytes]], key: str, passed: float) -> None:
    code = running[key].poll()
    if code is not None:
        send(job, "KILL")  # what it left behind
        del running[key]
        _end(job, 128 - code if code < 0 else code)
        return
    if job["stat"] == "RUN":
        job["ran"] += passed if Path(os.environ.get("LSF_STANDIN_CLOCK", "/")).exists() else 0.0
        _limit(job)
    while job["doom"] and job["doom"][0][0] <= time.time():
        send(job, job["doom"].pop(0)[1])


def _limit(job: store.Job) -> None:
    """The warning, the run limit's USR2, and KILL ten minutes later."""
    minutes = job["ran"] / store.setting("MINUTE", 60)
    limit = _minutes(job["options"].get("-W"))
    if limit is None:
        return
    if "-wa" in job["options"] and not job["warned"] and minutes >= limit - (_minutes(job["options"]["-wt"]) or 0):
        job["warned"] = True
        send(job, job["options"]["-wa"])
    if minutes >= limit and not job["limited"]:
        job["limited"], job["cause"] = True, job["cause"] or RUNLIMIT
        send(job, "USR2")
    if minutes >= limit + 10 and not job["doom"]:
        job["doom"] = [[time.time(), "KILL"]]


def _minutes(text: str | None) -> int | None:
    if text is None:
        return None
    hours, _, minutes = text.rpartition(":")
    return int(hours or 0) * 60 + int(minutes)


def _end(job: store.Job, code: int) -> None:
    again = re.findall(r"\d+", job["options"].get("-Q", ""))
    if job["requeue"] or (str(code) in again and not job["cause"]):
        job |= {"stat": "PEND", "pid": None, "hosts": [], "doom": [], "cause": "", "requeue": False}
        store.event(job, f"Pending: Requeued job is waiting for rescheduling;(exit code {code})")
        return
    stat = "EXIT" if code else "DONE"
    job |= {"stat": stat, "exit_code": code, "ended": time.time(), "pid": None, "reason": job["cause"] if code else ""}
    reason = f"{job['reason']}. " if job["reason"] else ""
    store.event(
        job,
        f"Exited with exit code {code}. {reason}The CPU time used is 0.1 seconds"
        if code
        else "Done successfully. The CPU time used is 0.1 seconds",
    )


if __name__ == "__main__":
    sys.exit(main())
