"""The batch script, option by option, and what is refused before anything is submitted."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.launch.lsf.ids import element, job_name, ours, unique
from worldmodels.launch.lsf.parameters import parameters
from worldmodels.launch.lsf.script import script


def made(count: int | None = None, name: str = "job", **options: Any) -> str:
    return script(parameters(options), name, Path("/logs"), "python -m tasks", count)


def lines(count: int | None = None, **options: Any) -> list[str]:
    text = made(count, **options)
    return [line.removeprefix("#BSUB ") for line in text.splitlines() if line.startswith("#BSUB ")]


def test_memory_is_reserved_on_each_host_and_limited_only_if_asked() -> None:
    assert '-R "rusage[mem=4096MB]"' in lines(mem_gb=4, tasks_per_node=2, cpus_per_task=2)
    assert not any(line.startswith("-M") for line in lines(mem_gb=4))
    assert "-M 5120MB" in lines(mem_gb=4, mem_limit_gb=5)


def test_a_site_that_counts_memory_by_slot_gets_the_hosts_share() -> None:
    assert '-R "rusage[mem=1024MB]"' in lines(mem_gb=4, tasks_per_node=2, cpus_per_task=2, mem_reserve="slot")
    assert not any("rusage" in line for line in lines(mem_gb=4, mem_reserve="none"))


def test_slots_count_tasks_and_their_cpus_on_all_hosts_and_stay_together() -> None:
    alone = lines(tasks_per_node=2, cpus_per_task=3)
    assert "-n 6" in alone
    assert '-R "span[hosts=1]"' in alone
    several = lines(nodes=2, tasks_per_node=2, cpus_per_task=3)
    assert "-n 12" in several
    assert '-R "span[ptile=6]"' in several
    assert '-R "span[block=2]"' in lines(nodes=2, span="block=2")
    assert not any(line.startswith("-nnodes") for line in several)  # of CSM systems only


def test_hosts_are_excluded_by_an_expression_that_survives_the_shell_and_bsub(commands_only) -> None:
    text = made(exclude=["hostX", "hostY"], select="type==any")
    assert "#BSUB -R \"select[hname!='hostX' && hname!='hostY']\"" in text
    subprocess.run(["bsub"], input=text, text=True, check=True, capture_output=True)
    assert "select[hname!='hostX' && hname!='hostY']" in commands_only.job()["options"]["-R"]
    assert "select[type==any]" in commands_only.job()["options"]["-R"]


def test_the_warning_comes_with_its_time_in_whole_minutes_or_not_at_all() -> None:
    both = lines(time=60, signal_delay_s=90)
    assert {"-W 60", "-wa USR2", "-wt 2"} <= set(both)
    assert not any(line.startswith(("-wa", "-wt")) for line in lines(signal_delay_s=0))


def test_gpus_are_asked_for_by_host_with_mode_exclusiveness_and_memory() -> None:
    options = {"gpus_per_node": 2, "gpu_mode": "exclusive_process", "j_exclusive": True, "gmem_gb": 10}
    assert "-gpu num=2/host:mode=exclusive_process:j_exclusive=yes:gmem=10240MB" in lines(**options)
    assert "-gpu num=1/host:j_exclusive=no" in lines(gpus_per_node=1, j_exclusive=False)
    assert not any(line.startswith("-gpu") for line in lines(gpus_per_node=0))


def test_an_array_counts_from_1_and_says_how_many_may_run() -> None:
    assert '-J "job[1-12]%3"' in lines(12, array_parallelism=3)
    assert '-J "job[1-2]%2"' in lines(2)
    assert "-J job" in lines()


def test_names_of_queue_project_application_and_group_and_any_other_option_are_handed_on() -> None:
    found = lines(
        queue="gpu", project="a b", app="torch", user_group="us", additional_parameters={"sla": "gold", "-x": True}
    )
    assert {"-q gpu", '-P "a b"', "-app torch", "-G us", "-sla gold", "-x"} <= set(found)


def test_output_goes_to_files_of_the_job_and_element_in_a_folder_that_exists() -> None:
    assert {"-oo /logs/%J_%I_lsf.out", "-eo /logs/%J_%I_lsf.err"} <= set(lines(3))
    assert not any(line.startswith("-eo") for line in lines(stderr_to_stdout=True))


def test_requeueing_by_exit_code_is_told_to_lsf_and_to_the_job() -> None:
    assert "-Q 99" in lines(requeue_exit_code=99)
    assert "export WORLDMODELS_LSF_REQUEUE_CODE=99" in made(requeue_exit_code=99)
    assert "REQUEUE_CODE" not in made()


def test_the_script_ignores_the_warning_before_anything_else_and_becomes_the_tasks() -> None:
    body = [line for line in made(setup=["module load cuda", "source 'my env'/x"]).splitlines() if line[:1] != "#"]
    body = [line for line in body if line]
    assert body[0] == "trap '' USR2"
    assert body[1:3] == ["module load cuda", "source 'my env'/x"]
    assert body[-1] == "exec python -m tasks"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"partition": "x"}, "do not exist: partition"),
        ({"time": "60"}, "time='60'"),
        ({"nodes": True}, "nodes=True"),
        ({"nodes": 0}, "nodes=0"),
        ({"mem_gb": -1}, "mem_gb=-1"),
        ({"gpu_mode": "exclusive"}, "one of shared, exclusive_process"),
        ({"mem_reserve": "task"}, "one of host, slot, none"),
        ({"setup": "module load"}, "setup='module load'"),
        ({"exclude": [1]}, "exclude=[1]"),
        ({"additional_parameters": ["-x"]}, "additional_parameters="),
        ({"time": 2, "signal_delay_s": 120}, "signal_delay_s=120 with a limit of 2 minutes"),
        ({"queue": 'a"b'}, "-q"),
        ({"queue": "a\n#BSUB -q root"}, "-q"),
        ({"project": "$(rm x)"}, "-P"),
    ],
)
def test_options_that_can_not_work_are_refused_with_what_was_expected(options, told) -> None:
    with pytest.raises(ConfigError) as error:
        made(**options)
    assert told in str(error.value)


def test_job_names_keep_to_what_lsf_takes_and_stay_apart() -> None:
    assert job_name("lr=1e-4, seed[3]%2 *") == "lr_1e-4__seed_3__2__"
    assert job_name("-q") == "q"
    assert job_name("123") == "job_123"
    assert job_name("") == "job"
    assert unique("a", "0123456789abcdef") == "a-01234567"
    assert len(unique("x" * 999, "f" * 32)) == 255


def test_an_element_is_written_as_lsf_writes_it_and_read_back() -> None:
    assert (element("123"), element("123_4")) == ("123", "123[4]")
    assert (ours("123"), ours("123", "0"), ours("123", "4"), ours("123[4]")) == ("123", "123", "123_4", "123_4")
