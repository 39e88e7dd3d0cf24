"""What LSF's documentation shows as the commands' output, read."""

from __future__ import annotations

import pytest

from worldmodels.launch.lsf.report import Report, missing, read_bhist, read_bjobs, report
from worldmodels.launch.lsf.submit import accepted

JSON = """{
  "COMMAND":"bjobs",
  "JOBS":4,
  "RECORDS":[
    {
      "JOBID":"22005",
      "JOBINDEX":"0",
      "STAT":"DONE",
      "EXIT_CODE":"",
      "EXIT_REASON":"",
      "EXEC_HOST":"hostA:hostA"
    },
    {
      "JOBID":"22006",
      "JOBINDEX":"4",
      "STAT":"EXIT",
      "EXIT_CODE":"140",
      "EXIT_REASON":"TERM_RUNLIMIT: job killed after reaching LSF run time limit",
      "EXEC_HOST":"hostB"
    },
    {
      "JOBID":"22007",
      "JOBINDEX":"0",
      "STAT":"PEND",
      "EXIT_CODE":"",
      "EXIT_REASON":"",
      "EXEC_HOST":""
    },
    {
      "JOBID":"99",
      "ERROR":"Job <99> is not found"
    }
  ]
}
"""


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("Job <3856> is submitted to default queue <normal>.\n", "3856"),
        ("Job <5583> is submitted to queue <short>.\n", "5583"),
        ("Warning: this queue is closed at night\nJob <7> is submitted to queue <q>.\n", "7"),
        ("Cannot connect to LSF. Please wait ...\n", None),
        ("", None),
    ],
)
def test_the_number_of_a_job_is_read_from_bsubs_answer(answer, number) -> None:
    assert accepted(answer) == number


@pytest.mark.parametrize(
    "stat", ["PEND", "WAIT", "PSUSP", "RUN", "USUSP", "SSUSP", "UNKWN", "ZOMBI", "PROV", "strange"]
)
def test_a_job_that_waits_runs_or_is_suspended_does_not_count_as_finished(stat) -> None:
    assert not report(stat).finished
    # submitit's own list of what is not finished, in core.InfoWatcher.is_done
    assert report(stat).state in {"READY", "PENDING", "RUNNING", "UNKNOWN", "REQUEUED", "COMPLETING", "PREEMPTED"}


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("TERM_RUNLIMIT: job killed after reaching LSF run time limit", "TIMEOUT"),
        ("TERM_OWNER: job killed by owner", "CANCELLED"),
        ("TERM_ADMIN: job killed by root or LSF administrator", "CANCELLED"),
        ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", "OUT_OF_MEMORY"),
        ("TERM_PREEMPT: job killed after preemption", "FAILED"),
        ("", "FAILED"),
    ],
)
def test_how_a_job_was_ended_is_kept_with_its_exit_code(reason, state) -> None:
    told = report("EXIT", "137", reason)
    assert (told.state, told.exit_code, told.reason, told.finished) == (state, 137, reason, True)


def test_bjobs_json_is_read_and_an_unknown_job_in_it_is_no_job() -> None:
    told = read_bjobs(JSON)
    assert set(told) == {"22005", "22006_4", "22007"}
    assert told["22005"] == Report("COMPLETED", "DONE", 0, "", "hostA:hostA")
    assert told["22006_4"].state == "TIMEOUT"
    assert told["22006_4"].exit_code == 140
    assert told["22007"].exit_code is None
    assert missing(JSON) == {"99"}


def test_messages_around_the_json_do_not_hide_it() -> None:
    assert set(read_bjobs("Cannot connect to LSF. Please wait ...\n" + JSON + "trailing\n")) == {
        "22005",
        "22006_4",
        "22007",
    }


def test_bjobs_lines_with_delimiters_are_read() -> None:
    text = "12^0^RUN^-^-^hostA\n13^2^EXIT^3^TERM_OWNER: job killed by owner^hostB\nnoise\n14[7]^7^SSUSP^-^-^-\n"
    told = read_bjobs(text)
    assert told["12"] == Report("RUNNING", "RUN", None, "", "hostA")
    assert (told["13_2"].state, told["13_2"].exit_code) == ("CANCELLED", 3)
    assert told["14_7"].state == "PREEMPTED"
    assert len(told) == 3


def test_jobs_that_are_not_found_are_told_in_either_way() -> None:
    text = "Job <123> is not found\nJob <45[6]> is not found\nNo matching job found for <7>\n"
    assert missing(text) == {"123", "45_6", "7"}


BROKEN = """
Job <7>, Job Name <train>, User <user>, Project <default>, Command <#!/bin/bash>
Fri Feb  1 10:52:20: Submitted from host <HostA>, to Queue <normal>, CWD <$HOME>;
Fri Feb  1 10:52:22: Starting (Pid 31390);
Fri Feb  1 10:52:23: Exited with ex
                     it code 17. The CPU time used is 0.1 seconds;
{more}
Summary of time in seconds spent in various states by  Fri Feb  1 10:52:23
"""


def test_bhist_tells_how_a_job_ended_wherever_it_breaks_its_lines() -> None:
    signalled = (
        "Exited by signal\n              9. TERM_RUN\n          LIMIT: job killed after reaching LSF run time limit"
    )
    text = (
        BROKEN.format(more="") + "-" * 78 + "\n\nJob <8[2]>, Job Name <x>\nDone successfully.\nJob <9>, x\n" + signalled
    )
    assert read_bhist(text) == {
        "7": report("EXIT", "17"),
        "8_2": report("DONE", "0"),
        "9": report("EXIT", "137", "TERM_RUNLIMIT"),
    }


def test_bhist_of_a_job_that_was_queued_again_is_no_end() -> None:
    waiting = "Fri Feb  1 10:52:23: Pending: Requeued job is waiting for rescheduling;"
    assert read_bhist(BROKEN.format(more=waiting)) == {}
    again = "Pending: Requeued job is waiting;(exit code 17)\nDispatched to <hostA>;\nStarting (Pid 4);\n"
    assert read_bhist(BROKEN.format(more=again)) == {}
    assert read_bhist(BROKEN.format(more=again + "Done successfully.")) == {"7": report("DONE", "0")}
    assert read_bhist("") == {}
