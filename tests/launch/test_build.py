"""Who starts a run's processes in a job of SLURM, and trainers that can not be."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.trainer.connectors.accelerator_connector import _AcceleratorConnector

from worldmodels import command
from worldmodels.launch.build import processes

JOB = {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "wrap"}
STEP = {**JOB, "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_NODEID": "0"}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*STEP, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def setenv(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_a_plain_run_in_an_allocation_for_many_tasks_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, JOB)
    found = processes()
    assert isinstance(found, LightningEnvironment)
    assert (found.world_size(), found.global_rank()) == (1, 0)


def test_a_step_of_one_task_starts_the_processes_of_its_devices_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, {**JOB, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS_PER_NODE": "1"})
    connector = _AcceleratorConnector(accelerator="cpu", devices=2, strategy="ddp", plugins=[processes()])
    assert not connector.cluster_environment.creates_processes_externally


def test_a_step_of_several_tasks_is_one_run_that_srun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, STEP)
    found = processes()
    assert isinstance(found, SLURMEnvironment)
    assert not found.auto_requeue, "requeueing is submitit's"
    assert (found.world_size(), found.global_rank(), found.local_rank()) == (4, 2, 2)
    _AcceleratorConnector(accelerator="cpu", devices=4, strategy="ddp", plugins=[found])


@pytest.mark.parametrize(
    "word", ["trainer.devices=3", "+trainer.num_nodes=2", "trainer.devices=[0]", "trainer.accelerator=quantum"]
)
def test_a_trainer_that_can_not_train_one_run_is_told_before_anything_starts(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["env=dummy", "stage=dqn", "data.sampler.length=1", "data.sampler.pad=true", "budget.updates=2"]
    assert command.main(["train", *words, word]) == 2
    told = capsys.readouterr().err
    assert "expected: " in told
    assert "trainer.devices" in told or "trainer.num_nodes" in told or "trainer.*" in told
