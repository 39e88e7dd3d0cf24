"""bsub: pages "bsub", "bsub -J", "bsub -W", "bsub -wa", "bsub -wt", "bsub -Q", "bsub -oo" of the Command Reference."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from typing import Any

from standin import store

VALUES = {
    "-J",
    "-q",
    "-P",
    "-app",
    "-G",
    "-W",
    "-wa",
    "-wt",
    "-n",
    "-R",
    "-M",
    "-gpu",
    "-oo",
    "-eo",
    "-Q",
    "-sla",
    "-m",
}
SWITCHES = {"-r", "-x", "-H"}
QUEUES = ("normal", "short", "gpu")
MAX_JOB_ARRAY_SIZE = 1000


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """What bsub complains of."""


def bsub(argv: list[str]) -> int:
    script = sys.stdin.read()
    try:
        options = _options(script, argv)
        name, indices, limit = _array(options.get("-J", "noname"))
        _check(options)
    except Refused as refusal:
        sys.stderr.write(f"{refusal}. Job not submitted.\n")
        return 255
    with store.cluster() as state:
        number = state["next"]
        state["next"] += 1
        file = store.root() / f"{number}.sh"
        file.write_text(script)
        for index in indices:
            state["jobs"][store.key(number, index)] = _job(number, index, name, limit, options, str(file))
    queue = options.get("-q")
    print(f"Job <{number}> is submitted to {'queue' if queue else 'default queue'} <{queue or 'normal'}>.")
    return 0


def _options(script: str, argv: list[str]) -> dict[str, Any]:
    """Of the command line and of the script's #BSUB lines; the command line wins. -R adds up."""
    words = [word for line in script.splitlines() if line.startswith("#BSUB") for word in shlex.split(line[5:])]
    options: dict[str, Any] = {"-R": []}
    words = words + argv
    while words:
        flag = words.pop(0)
        if flag in SWITCHES:
            options[flag] = True
        elif flag not in VALUES or not words:
            raise Refused(f"Illegal option -- {flag}")
        elif flag == "-R":
            options["-R"].append(words.pop(0))
        else:
            options[flag] = words.pop(0)
    return options


def _array(text: str) -> tuple[str, list[int], int]:
    """Name, indices (0 for a job that is no array) and how many elements may run at a time (0: all)."""
    found = re.fullmatch(r"([^\[\]%]*)(?:\[(\d+)-(\d+)\])?(?:%(\d+))?", text)
    if not found:
        raise Refused(f"{text}: Bad job name")
    name, first, last, limit = found.groups()
    if first is None:
        return name, [0], 0
    if int(first) < 1:
        raise Refused("Bad job array index list")
    if int(last) > MAX_JOB_ARRAY_SIZE:
        raise Refused("Job array index too large")
    return name, list(range(int(first), int(last) + 1)), int(limit or 0)


def _check(options: dict[str, Any]) -> None:
    if options.get("-q", "normal") not in QUEUES:
        raise Refused(f"{options['-q']}: No such queue")
    for flag in ("-W", "-wt"):
        if not re.fullmatch(r"(\d+:)?\d+", options.get(flag, "1")):
            raise Refused(f"{options[flag]}: Bad time specification")
    if ("-wa" in options) != ("-wt" in options):
        raise Refused("Both -wa and -wt must be specified")
    for requirement in options["-R"]:
        if not re.fullmatch(r"((select|order|rusage|span|same|affinity)\[[^\[\]]+\]\s*)+", requirement):
            raise Refused("Bad resource requirement syntax")
    if "-gpu" in options and not re.fullmatch(r"num=\d+(/task|/host)?(:\w+=[\w.-]+)*", options["-gpu"]):
        raise Refused("Bad GPU requirement syntax")


def _job(number: int, index: int, name: str, limit: int, options: dict[str, Any], script: str) -> store.Job:
    job: store.Job = {
        "id": number,
        "index": index,
        "name": name,
        "limit": limit,
        "options": options,
        "script": script,
        "cwd": str(os.getcwd()),  # noqa: PTH109
        "env": {name: value for name, value in os.environ.items() if not name.startswith("LSB_")},
        "stat": "PEND",
        "exit_code": None,
        "reason": "",
        "hosts": [],
        "pid": None,
        "ran": 0.0,
        "warned": False,
        "limited": False,
        "doom": [],
        "cause": "",
        "requeue": False,
        "attempts": 0,
        "ended": None,
        "events": [],
        "submitted": time.time(),
    }
    store.event(job, f"Submitted from host <login>, to Queue <{options.get('-q', 'normal')}>")
    return job
