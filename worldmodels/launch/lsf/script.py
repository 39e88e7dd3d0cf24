"""The batch script: #BSUB lines and a few of shell. The Command Reference, "bsub", says what each option means."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from worldmodels.core.errors import ConfigError
from worldmodels.launch.lsf.parameters import Parameters

REQUEUE_CODE = "WORLDMODELS_LSF_REQUEUE_CODE"  # in the job's environment: end with this code to be queued again


def script(options: Parameters, name: str, logs: Path, command: str, count: int | None = None) -> str:
    """What bsub reads on its standard input.

    name: of the job, safe and unique. logs: the folder for LSF's own report and what the shell says; it must exist.
    command: starts the tasks. count: elements of the array; None: a job that is none.
    """
    lines = ["#!/bin/bash", "", *(f"#BSUB {line}" for line in _lines(options, name, logs, count))]
    # The warning goes to all processes of the job. Ignored here, and so until Python listens, it ends neither the shell
    # nor a task that is still importing; a trap would make `wait` return before Python has checkpointed.
    lines += ["", "trap '' USR2", *options.setup, "export SUBMITIT_EXECUTOR=lsf"]
    if options.requeue_exit_code is not None:
        lines.append(f"export {REQUEUE_CODE}={options.requeue_exit_code}")
    # exec: no shell is left that a signal could end before the tasks, and LSF sees their exit code.
    return "\n".join([*lines, f"exec {command}", ""])


def _lines(options: Parameters, name: str, logs: Path, count: int | None) -> Iterator[str]:
    yield from _names(options, name, logs, count)
    yield from _limits(options)
    for flag, value in options.additional_parameters.items():
        flag = flag if flag.startswith("-") else f"-{flag}"
        yield flag if value is True else _option(flag, str(value))


def _names(options: Parameters, name: str, logs: Path, count: int | None) -> Iterator[str]:
    if count is None:
        yield _option("-J", name)
    else:
        yield _option("-J", f"{name}[1-{count}]%{min(count, options.array_parallelism)}")
    yield _option("-oo", f"{logs}/%J_%I_lsf.out")
    if not options.stderr_to_stdout:
        yield _option("-eo", f"{logs}/%J_%I_lsf.err")
    chosen = {"-q": options.queue, "-P": options.project, "-app": options.app, "-G": options.user_group}
    yield from (_option(flag, value) for flag, value in chosen.items() if value is not None)


def _limits(options: Parameters) -> Iterator[str]:
    yield f"-W {options.time}"
    if options.warning:
        yield "-wa USR2"  # both or neither, and some sites refuse quotes here
        yield f"-wt {options.warning}"
    yield f"-n {options.nodes * options.slots_per_node}"
    for requirement in _requirements(options):
        yield _option("-R", requirement)
    if options.mem_limit_gb is not None:
        yield f"-M {_megabytes(options.mem_limit_gb)}"
    if options.gpus_per_node:
        yield _option("-gpu", _gpu(options))
    if options.requeue_exit_code is not None:
        yield _option("-Q", str(options.requeue_exit_code))


def _requirements(options: Parameters) -> Iterator[str]:
    """Sections of -R, one each; LSF joins them."""
    if options.select:
        yield f"select[{options.select}]"
    if options.exclude:
        yield "select[" + " && ".join(f"hname!='{host}'" for host in options.exclude) + "]"
    if options.mem_gb is not None and options.mem_reserve != "none":
        share = options.slots_per_node if options.mem_reserve == "slot" else 1
        yield f"rusage[mem={_megabytes(options.mem_gb / share)}]"
    if options.span:
        yield f"span[{options.span}]"
    elif options.nodes == 1:
        yield "span[hosts=1]"
    else:
        yield f"span[ptile={options.slots_per_node}]"
    yield from options.resources


def _gpu(options: Parameters) -> str:
    parts = [f"num={options.gpus_per_node}/host"]
    if options.gpu_mode:
        parts.append(f"mode={options.gpu_mode}")
    if options.j_exclusive is not None:
        parts.append(f"j_exclusive={'yes' if options.j_exclusive else 'no'}")
    if options.gmodel:
        parts.append(f"gmodel={options.gmodel}")
    if options.gmem_gb is not None:
        parts.append(f"gmem={_megabytes(options.gmem_gb)}")
    return ":".join(parts)


def _megabytes(gigabytes: float) -> str:
    """With its unit, so that no site's LSF_UNIT_FOR_LIMITS has a say."""
    return f"{max(1, round(gigabytes * 1024))}MB"


def _option(flag: str, value: str) -> str:
    """Bare where it can be, else in double quotes, as the pages of bsub have it; what would end them is refused."""
    if any(sign in value for sign in '"`$\\') or not value.isprintable():
        raise ConfigError(f"{flag} {value!r}", 'a value without ", `, $, \\ and line ends', "give another value")
    return f"{flag} {value}" if shlex.quote(value) == value else f'{flag} "{value}"'
