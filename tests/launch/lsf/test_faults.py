"""Commands that fail, lose their answer or take long, and jobs that LSF forgets."""

from __future__ import annotations

import logging
import subprocess
import time

import pytest

from worldmodels.launch.lsf import commands
from worldmodels.launch.lsf.submit import RefusedError, UnansweredError, find, submit
from worldmodels.launch.lsf.watcher import LsfInfoWatcher

SCRIPT = "#!/bin/bash\n#BSUB -J {name}\n#BSUB -W 10\n{command}\n"


def queued(name: str = "some", command: str = "sleep 0") -> str:
    return submit(SCRIPT.format(name=name, command=command), name)


def test_bsub_that_fails_at_first_is_called_again(commands_only, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_FAIL", "bsub:3")
    assert queued() == "1"
    assert len(commands_only.jobs()) == 1


def test_a_job_whose_number_was_lost_is_found_by_its_name_and_not_submitted_again(commands_only, monkeypatch) -> None:
    queued("other")
    monkeypatch.setenv("LSF_STANDIN_MUTE", "bsub:9")
    assert queued() == "2"
    assert len(commands_only.jobs()) == 2


def test_a_job_that_bsub_accepts_too_late_is_found_too(commands_only, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_SLOW", "bsub:9:30")
    real = commands.call
    monkeypatch.setattr(commands, "call", lambda words, *rest, **more: real(words, *rest, **{"patience": 3.0, **more}))
    assert queued() == "1"
    assert len(commands_only.jobs()) == 1


def test_a_job_that_lsf_takes_only_after_bsub_was_given_up_is_found_too(commands_only, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_LATE", "bsub:1:4")
    monkeypatch.setattr("worldmodels.launch.lsf.submit.LATE", 2.0)
    real = commands.call
    monkeypatch.setattr(commands, "call", lambda words, *rest, **more: real(words, *rest, **{"patience": 3.0, **more}))
    assert queued() == "1"
    time.sleep(1.0)
    assert len(commands_only.jobs()) == 1


def test_while_bjobs_does_not_answer_nothing_is_submitted_again(commands_only, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_MUTE", "bsub:9")
    monkeypatch.setenv("LSF_STANDIN_FAIL", "bjobs:99")
    with pytest.raises(UnansweredError, match="bjobs -a -J some"):
        queued()
    assert len(commands_only.jobs()) == 1


def test_a_job_that_lsf_refuses_is_not_submitted_again_and_its_words_are_told(commands_only) -> None:
    with pytest.raises(RefusedError, match="nosuch: No such queue"):
        submit("#BSUB -q nosuch\n", "some")
    assert commands_only.jobs() == {}


def test_an_array_is_found_by_its_name_as_one_job(commands_only) -> None:
    submit("#BSUB -J some[1-3]\n", "some")
    assert find("some") == "1"
    assert find("nothing") is None


def test_one_unknown_job_does_not_hide_the_others_nor_does_lsf_forget_them(commands_only) -> None:
    queued()
    watcher = LsfInfoWatcher()
    for job in ("1", "77", "78_3"):
        watcher.register_job(job)
    assert watcher.get_state("1", mode="force") == "PENDING"
    assert watcher.get_state("77", mode="cache") == "UNKNOWN"
    assert not watcher.is_done("78_3", mode="cache")


def test_finished_jobs_are_asked_for_and_bhist_tells_of_forgotten_ones(cluster, monkeypatch) -> None:
    queued("a", "exit 0")
    queued("b", "exit 3")
    cluster.until(lambda: all(job["stat"] in ("DONE", "EXIT") for job in cluster.jobs().values()))
    watcher = LsfInfoWatcher()
    watcher.register_job("1")
    assert watcher.get_state("1", mode="force") == "COMPLETED"  # bjobs -a
    monkeypatch.setenv("LSF_STANDIN_CLEAN", "0")
    time.sleep(0.1)
    later = LsfInfoWatcher()
    later.register_job("1")
    later.register_job("2")
    assert later.get_state("2", mode="force") == "FAILED"
    assert later.get_info("2", mode="cache")["ExitCode"] == "3"
    assert later.get_state("1", mode="cache") == "COMPLETED"


def test_a_job_of_which_nothing_is_known_any_more_ends_the_wait_after_a_while(commands_only, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_NO_HISTORY", "1")
    queued()
    watcher = LsfInfoWatcher()
    watcher.register_job("1")
    watcher.register_job("77")
    watcher.update()
    assert not watcher.is_done("77", mode="cache")
    watcher.lost["77"] -= watcher.unheard + 1
    watcher.update()
    assert watcher.get_state("77", mode="cache") == "FORGOTTEN"
    assert watcher.is_done("77", mode="cache")
    assert not watcher.is_done("1", mode="cache")


def test_a_bhist_that_never_answers_is_given_more_time_but_not_for_ever(commands_only, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_FAIL", "bhist:99")
    watcher = LsfInfoWatcher()
    watcher.register_job("77")
    watcher.lost["77"] = time.time() - watcher.unheard - 1
    watcher.update()
    assert not watcher.is_done("77", mode="cache")
    watcher.lost["77"] -= 20 * watcher.unheard
    watcher.update()
    assert watcher.get_state("77", mode="cache") == "FORGOTTEN"


def test_calls_of_bjobs_that_fail_change_nothing(commands_only, monkeypatch, caplog) -> None:
    queued()
    watcher = LsfInfoWatcher(unheard=0.0)
    assert watcher.get_state("1", mode="force") == "PENDING"
    monkeypatch.setenv("LSF_STANDIN_FAIL", "bjobs:2")
    with caplog.at_level(logging.WARNING):
        watcher.update()
        watcher.update()
    assert watcher.get_state("1", mode="cache") == "PENDING"
    assert "Cannot connect to LSF" in caplog.text
    watcher.update()
    assert watcher.get_state("1", mode="cache") == "PENDING"


def test_bjobs_that_is_too_old_for_json_is_asked_for_lines(commands_only, monkeypatch) -> None:
    monkeypatch.setenv("LSF_STANDIN_OLD", "1")
    submit("#BSUB -J some[1-2]\n", "some")
    watcher = LsfInfoWatcher()
    assert watcher.get_state("1_2", mode="force") == "PENDING"
    assert watcher.get_state("9", mode="force") == "UNKNOWN"


def test_one_call_of_bjobs_asks_for_all_jobs_and_finished_ones_are_not_asked_for_again(commands_only) -> None:
    watcher = LsfInfoWatcher()
    for job in ("1_1", "1_2", "10", "9"):
        watcher.register_job(job)
    command = watcher._make_command() or []
    assert command[-3:] == ["1", "9", "10"]
    assert "-a" in command
    watcher._finished |= {"1_1", "1_2", "10"}
    assert (watcher._make_command() or [])[-1:] == ["9"]
    watcher._finished.add("9")
    assert watcher._make_command() is None


def test_the_stand_ins_refuse_what_the_pages_say_that_lsf_refuses(commands_only) -> None:
    for line, told in {
        "-J some[0-3]": "Bad job array index list",
        "-J some[1-1001]": "Job array index too large",
        "-W soon": "Bad time specification",
        "-wa USR2": "Both -wa and -wt",
        "-R mem=3": "Bad resource requirement syntax",
        "-frob": "Illegal option",
    }.items():
        done = subprocess.run(["bsub"], input=f"#BSUB {line}\n", capture_output=True, text=True)
        assert (done.returncode, told in done.stderr) == (255, True), done
