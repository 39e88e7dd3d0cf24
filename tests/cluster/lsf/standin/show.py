"""bjobs and bhist: pages "bjobs", "bjobs -o", "bjobs -json", "bhist", "LSB_BJOBS_CONSISTENT_EXIT_CODE"."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import time
from typing import Any

from standin import store


def bjobs(argv: list[str]) -> int:
    """Unfinished jobs, with -a those that finished lately too. The output has a line for each job or element."""
    asked = {"all": False, "json": False, "header": True, "format": "jobid stat", "name": None}
    words: list[str] = []
    rest = list(argv)
    while rest:
        flag = rest.pop(0)
        if flag == "-json" and os.environ.get("LSF_STANDIN_OLD"):
            sys.stderr.write("bjobs: illegal option -- json\n")
            return 255
        if flag in ("-a", "-json", "-noheader"):
            asked[{"-a": "all", "-json": "json", "-noheader": "header"}[flag]] = flag != "-noheader"
        elif flag in ("-o", "-J"):
            asked[{"-o": "format", "-J": "name"}[flag]] = rest.pop(0)
        else:
            words.append(flag)
    if asked["json"] and not asked["header"]:
        sys.stderr.write("-json and -noheader can not be used together\n")
        return 255
    with store.cluster() as state:
        jobs, lost = _found(state, words, asked["name"])
    jobs = [job for job in jobs if asked["all"] or job["stat"] not in store.FINISHED]
    _print(jobs, lost, str(asked["format"]), as_json=bool(asked["json"]), header=bool(asked["header"]))
    for word in lost:
        sys.stderr.write(f"Job <{word}> is not found\n")
    if not jobs and not lost:
        sys.stderr.write("No job found\n" if asked["all"] else "No unfinished job found\n")
    return 255 if lost else 0


def _found(state: dict[str, Any], words: list[str], name: Any) -> tuple[list[store.Job], list[str]]:
    known = {key: job for key, job in state["jobs"].items() if not store.forgotten(job)}
    if name is not None:
        jobs = [job for job in known.values() if job["name"] == name]
        return jobs, [] if jobs else [name]
    if not words:
        return list(known.values()), []
    jobs, lost = [], []
    for word in words:
        found = store.chosen({"jobs": known}, word)
        jobs += found
        lost += [] if found else [word]
    return jobs, lost


def _print(jobs: list[store.Job], lost: list[str], text: str, *, as_json: bool, header: bool) -> None:
    delimiter = re.search(r"delimiter='(.*?)'", text)
    fields = re.sub(r"delimiter='.*?'", "", text).split()
    if as_json:
        records: list[dict[str, str]] = [{name.upper(): _field(job, name) for name in fields} for job in jobs]
        records += [{"JOBID": word, "ERROR": f"Job <{word}> is not found"} for word in lost]
        print(json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2))
        return
    between = delimiter[1] if delimiter else " "
    if header and jobs:
        print(between.join(name.upper() for name in fields))
    for job in jobs:
        print(between.join(_field(job, name) or ("" if delimiter else "-") for name in fields))


def _field(job: store.Job, name: str) -> str:
    return {
        "jobid": str(job["id"]),
        "jobindex": str(job["index"]),
        "stat": job["stat"],
        "exit_code": str(job["exit_code"]) if job["stat"] == "EXIT" else "",
        "exit_reason": job["reason"],
        "exec_host": ":".join(job["hosts"]),
        "job_name": job["name"],
    }[name]


def bhist(argv: list[str]) -> int:
    """`bhist -l -n 0 job ...`: what happened, in lines of 80 characters, broken anywhere."""
    words = [word for word in argv if re.fullmatch(r"\d+(\[\d+\])?", word) and word != "0"]
    code = 0
    with store.cluster() as state:
        for word in words:
            jobs = [] if os.environ.get("LSF_STANDIN_NO_HISTORY") else store.chosen(state, word)
            for job in jobs:
                _history(job)
            if not jobs:
                sys.stderr.write(f"No matching job found for <{word}>\n")
                code = 255
    return code


def _history(job: store.Job) -> None:
    head = f"Job <{store.key(job['id'], job['index'])}>, Job Name <{job['name']}>, User <user>, Project <default>"
    lines = [head, *(f"{time.ctime(when)[:19]}: {text};" for when, text in job["events"])]
    for line in lines:
        print("\n                     ".join(textwrap.wrap(line, 58, break_long_words=True)))
    print("\nSummary of time in seconds spent in various states by ...\n  PEND PSUSP RUN USUSP SSUSP UNKWN TOTAL")
    print("-" * 78)
