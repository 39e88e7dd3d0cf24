"""The process that the batch script becomes: it starts the tasks, outlives the warning and hands on the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worldmodels.launch.lsf.hosts import hosts
from worldmodels.launch.lsf.parameters import Parameters
from worldmodels.launch.lsf.script import script
from worldmodels.launch.lsf.tasks import Layout, _elsewhere, ending, main


def python(text: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)


@pytest.mark.parametrize(
    ("texts", "code"), [(["", ""], 0), (["", "exit(7)"], 7), (["import os; os.kill(os.getpid(), 9)"], 137)]
)
def test_the_code_is_the_first_failures_or_0(texts, code) -> None:
    assert ending([python(text) for text in texts]) == code


def test_when_one_task_fails_the_others_are_not_waited_for_for_ever() -> None:
    stubborn = python(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    began = time.monotonic()
    assert ending([stubborn, python("exit(3)")], grace=0.3) == 3
    assert stubborn.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 60


SLOW = """
import signal, sys, time
def checkpoint(number, frame):
    time.sleep(1.5)
    print("saved", flush=True)
    sys.exit(5)
print("importing", flush=True)
time.sleep(0.5)
signal.signal(signal.SIGUSR2, checkpoint)
print("listening", flush=True)
time.sleep(600)
"""

LAUNCHER = """
import subprocess, sys
from worldmodels.launch.lsf.tasks import ending
sys.exit(ending([subprocess.Popen([sys.executable, sys.argv[1]])]))
"""


def test_the_script_survives_the_warning_until_python_has_saved_and_ends_with_its_code(tmp_path: Path) -> None:
    """The warning goes to all processes, also while Python still imports, and comes a second time during the save."""
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    launcher = f"{sys.executable} {tmp_path}/launcher.py {tmp_path}/slow.py"
    file = tmp_path / "job.sh"
    file.write_text(script(Parameters(), "job", tmp_path, launcher))
    job = subprocess.Popen(["bash", str(file)], stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "importing\n"
    os.killpg(job.pid, signal.SIGUSR2)
    assert job.stdout.readline() == "listening\n"
    os.killpg(job.pid, signal.SIGUSR2)
    assert job.stdout.readline() == "saved\n"
    assert job.wait(30) == 5


def test_hosts_are_read_from_either_variable() -> None:
    assert hosts({"LSB_MCPU_HOSTS": "hostA 2 hostB 3", "LSB_HOSTS": "x"}) == {"hostA": 2, "hostB": 3}
    assert hosts({"LSB_HOSTS": "hostA hostA hostB"}) == {"hostA": 2, "hostB": 1}
    assert hosts({}) == {}


def test_a_job_that_got_another_number_of_hosts_than_it_asked_for_says_so(monkeypatch) -> None:
    monkeypatch.setenv("LSB_MCPU_HOSTS", "hostA 4")
    with pytest.raises(SystemExit, match="asked for 2 hosts and LSF gave it 1: hostA"):
        _elsewhere(Layout("/jobs/%j", 2, 1, False))


def test_the_other_hosts_get_the_same_command_line() -> None:
    layout = Layout("/a folder/%j", 2, 3, True)
    assert layout.words() == ["/a folder/%j", "--nodes", "2", "--tasks-per-node", "3", "--together"]
    with pytest.raises(SystemExit):
        main([*layout.words(), "--frob"])
