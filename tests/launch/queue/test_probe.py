"""Readings of GPU memory from stand-ins: what can not be read is absent."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.launch.queue import probe
from worldmodels.launch.queue.nouns import Memory
from worldmodels.launch.queue.probe import Gpu, Nvml, Smi, source


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Smi:
    """A program of that name, first on the path."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return Smi()


def test_nvidia_smi_is_read_in_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = smi(tmp_path, monkeypatch, "echo '0, GPU-a, 2048, 81920'; echo '1, GPU-b, 3, 81920'")
    assert reader()["0"] == Memory(2.0, 80.0)
    assert reader.gpus() == [Gpu("0", "GPU-a"), Gpu("1", "GPU-b")]


def test_nvidia_smi_is_asked_for_what_we_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = smi(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/asked; echo "0, GPU-a, 1024, 2048"')
    reader()
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["--query-gpu=index,uuid,memory.used,memory.total", "--format=csv,noheader,nounits"]


@pytest.mark.parametrize("line", ["1, GPU-b, [N/A], [N/A]", "1, GPU-b, [GPU requires reset], 81920"])
def test_a_gpu_that_nvidia_smi_can_not_read_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    reader = smi(tmp_path, monkeypatch, f"echo '0, GPU-a, 1024, 81920'; echo '{line}'")
    assert set(reader()) == {"0", "GPU-a"}


@pytest.mark.parametrize("script", ["exit 9", "echo NVIDIA-SMI has failed; exit 1", "sleep 5"])
def test_a_nvidia_smi_that_fails_or_hangs_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 0.3)
    assert smi(tmp_path, monkeypatch, script)() == {}


def test_no_nvidia_smi_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert Smi()() == {}


class FakeNvml:
    """Stands in for the module pynvml: two GPUs, of which `broken` fail."""

    class NVMLError(Exception):
        pass

    class NVMLError_FunctionNotFound(NVMLError):  # noqa: N801, N818 (NVIDIA's name)
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818 (NVIDIA's name)
        pass

    nvmlMemory_v2 = 2  # noqa: N815 (NVIDIA's name)

    def __init__(self) -> None:
        self.broken: set[int] = set()
        self.down = False

    def nvmlInit(self) -> None:  # noqa: N802 (NVIDIA's name)
        if self.down:
            raise self.NVMLError

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 (NVIDIA's name)
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 (NVIDIA's name)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802 (NVIDIA's name)
        if uuid != "MIG-one":
            raise self.NVMLError
        return 1

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802 (NVIDIA's name)
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int, version: int | None = None) -> Any:  # noqa: N802 (NVIDIA's name)
        if handle in self.broken:
            raise self.NVMLError
        if version:
            raise self.NVMLError_FunctionNotFound  # as an old driver says
        return SimpleNamespace(used=2**30 * (1 + handle), total=2**30 * 80)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
    return fake


def test_nvml_that_fails_midway_takes_its_gpu_out_and_brings_it_back(nvml: FakeNvml) -> None:
    reader = Nvml()
    assert set(reader()) == {"0", "1", "GPU-0", "GPU-1"}
    nvml.broken = {0}
    assert set(reader()) == {"1", "GPU-1"}
    nvml.down = True
    assert reader() == {}
    nvml.broken, nvml.down = set(), False
    assert reader()["1"] == Memory(2.0, 80.0)


def test_a_mig_slice_is_read_by_its_uuid(nvml: FakeNvml) -> None:
    reader = Nvml()
    assert reader.knows("MIG-one")
    assert not reader.knows("MIG-two")
    assert reader()["MIG-one"] == Memory(2.0, 80.0)


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    pytest.importorskip("pynvml")
    assert isinstance(Nvml().gpus(), list)


def readings() -> dict[int, object]:
    return {0: 12.5, 1: [3, 80]}


def test_a_function_of_the_user_s_own_is_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "readings", SimpleNamespace(read=readings))  # type: ignore[arg-type]
    reader = source("readings.read")
    assert reader() == {"0": Memory(12.5), "1": Memory(3.0, 80.0)}


@pytest.mark.parametrize("name", ["nvm", "no.such.module"])
def test_an_unknown_probe_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"probe={name}"):
        source(name)
