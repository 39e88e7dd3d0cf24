"""What is made of the words of squeue, sacct and scontrol, and of their failing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.launch.cluster import scheduler
from worldmodels.launch.cluster.scheduler import Local, Slurm, Watched, ask
from worldmodels.launch.cluster.submit import PASSING, demand_time
from worldmodels.launch.cluster.worker import work


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def command(folder: Path, name: str, says: str, code: int = 0) -> None:
    (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {code}\n")
    (folder / name).chmod(0o755)


def test_jobs_that_squeue_lists_live_also_elements_of_arrays(commands: Path) -> None:
    command(commands, "squeue", "12_0\n12_1\n15")
    assert Slurm().living([]) == {"12_0", "12_1", "15"}


def test_an_empty_queue_is_an_answer_and_a_failing_squeue_is_none(commands: Path) -> None:
    command(commands, "squeue", "")
    assert Slurm().living([]) == set()
    command(commands, "squeue", "slurm_load_jobs error: Unable to contact slurm controller", 1)
    assert Slurm().living([]) is None


def test_a_command_that_is_slow_or_absent_gives_no_answer(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (commands / "squeue").write_text("#!/bin/sh\nexec sleep 20\n")
    (commands / "squeue").chmod(0o755)
    monkeypatch.setattr(scheduler, "PATIENCE", 0.2)
    assert Slurm().living([]) is None
    assert ask("no-such-command-here") is None


def test_sacct_says_how_the_last_start_of_a_job_ended(commands: Path) -> None:
    command(commands, "sacct", "REQUEUED\nCANCELLED by 1000")
    assert Slurm().verdict("12_0") == "CANCELLED by 1000"
    command(commands, "sacct", "Slurm accounting storage is disabled", 1)
    assert Slurm().verdict("12_0") is None


def test_arrays_are_stopped_as_a_whole() -> None:
    jobs = ["12_0", "12_1", "9"]
    assert Slurm().stop(jobs) == "scancel 9 12"
    assert Watched("bkill").stop(jobs) == "bkill 12 9"


def test_a_job_is_found_by_the_tag_in_its_comment(commands: Path) -> None:
    command(commands, "squeue", "11 (null)\n12 for the paper worldmodels:2026-ab\n13 worldmodels:2026-cd")
    assert Slurm().submitted("2026-ab") == "12"
    assert Slurm().submitted("2026-ef") is None


def test_a_process_that_is_no_controller_is_not_a_job() -> None:
    assert Local().living([SimpleNamespace(job_id=str(os.getpid()))]) == set()


@pytest.mark.parametrize(
    "told",
    [
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying.",
        "LSF is down. Please wait ...",
    ],
)
def test_faults_that_pass_are_told_from_refusals(told: str) -> None:
    assert PASSING.search(told)
    assert not PASSING.search("sbatch: error: invalid partition specified: nowhere")
    assert not PASSING.search("sbatch: error: Batch job submission failed: Invalid account or account/partition")


def test_a_signal_that_would_come_before_the_start_is_refused_and_one_that_might_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigError, match=r"(?s)signal_delay_s=120 with timeout_min=2.*hydra\.launcher\.timeout_min"):
        demand_time({"timeout_min": 2, "signal_delay_s": 120})
    demand_time({"timeout_min": 2, "signal_delay_s": 90})
    assert "may be told to stop before it has begun" in capsys.readouterr().out
    demand_time({"timeout_min": 60, "signal_delay_s": 120})
    assert not capsys.readouterr().out


SHOWN = "JobId=5 JobName=x\n   JobState={state} Reason=None\n   PreemptEligibleTime=now PreemptTime={since}"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Signals that submitit's handler got."""
    found = list[int]()
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    monkeypatch.setattr("worldmodels.launch.cluster.worker.ALONE", 0.0)
    monkeypatch.setattr("worldmodels.launch.cluster.worker.folders", lambda launcher, words: [Path("nowhere")])
    signal.signal(signal.SIGUSR2, lambda number, frame: found.append(number))
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def leaves(code: int) -> None:
    raise SystemExit(code)


@pytest.mark.parametrize(
    ("code", "state", "since", "again"),
    [
        (128 + signal.SIGUSR2, "RUNNING", "None", True),  # a time limit, or a place that is wanted
        (128 + signal.SIGTERM, "RUNNING", "2026-11-20T19:47:24", True),  # a place that is wanted
        (128 + signal.SIGTERM, "CANCELLED", "None", False),
        (128 + signal.SIGTERM, "COMPLETING", "2026-11-20T19:47:24", False),  # SLURM has requeued it by itself
        (128 + signal.SIGTERM, "RUNNING", "None", False),  # a person's kill
        (1, "RUNNING", "None", False),
    ],
)
def test_submitit_gets_the_signal_when_the_job_shall_come_again(
    code: int,
    state: str,
    since: str,
    again: bool,
    told: list[int],
    commands: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command(commands, "scontrol", SHOWN.format(state=state, since=since))
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    with pytest.raises(SystemExit) as left:
        work(None, [], lambda: leaves(code))
    assert left.value.code == code
    assert told == ([signal.SIGUSR2] if again else [])


def test_without_the_extra_a_launcher_says_what_to_install() -> None:
    lines = [
        "import sys",
        "sys.modules['hydra_plugins.hydra_submitit_launcher'] = None",
        "from worldmodels.command import run",
        "sys.exit(run('train', ['-m', 'env=dummy', 'seed=0,1', 'hydra/launcher=submitit_slurm']))",
    ]
    told = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert told.returncode == 2, told.stderr
    assert "pip install '.[cluster]'" in told.stderr
    assert "Traceback" not in told.stderr
