"""Readings of GPU memory. What can not be read is absent, and so is not used; no failure here ends a queue."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from worldmodels.core.errors import ConfigError
from worldmodels.launch.queue.nouns import Memory

MIB, GIB = 2**20, 2**30
PATIENCE = 10.0  # seconds for nvidia-smi, which hangs when a driver does


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine; `index` counts in the order of PCI buses, as nvidia-smi does."""

    index: str
    uuid: str


@runtime_checkable
class Source(Protocol):
    """Knows the GPUs of this machine, and how full they are, by index and by UUID."""

    def gpus(self) -> list[Gpu]: ...

    def __call__(self) -> Mapping[str, Memory]: ...


class Blind:
    """`none`: nothing is measured."""

    def gpus(self) -> list[Gpu]:
        return []

    def __call__(self) -> Mapping[str, Memory]:
        return {}


class Nvml:
    """NVIDIA's management library. MIG slices are known by UUID alone: `parts` are those that are asked for."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def gpus(self) -> list[Gpu]:
        import pynvml

        found = []
        try:
            pynvml.nvmlInit()
            for index in range(pynvml.nvmlDeviceGetCount()):
                found.append(Gpu(str(index), pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index))))
        except pynvml.NVMLError:
            return found
        return found

    def __call__(self) -> Mapping[str, Memory]:
        import pynvml

        found: dict[str, Memory] = {}
        try:
            pynvml.nvmlInit()  # counts its calls and costs microseconds; brings a restarted driver back
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError:
            return found
        for index in range(count):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                found[str(index)] = found[pynvml.nvmlDeviceGetUUID(handle)] = _memory(pynvml, handle)
            except pynvml.NVMLError:
                continue
        for part in self.parts:
            try:
                found[part] = _memory(pynvml, pynvml.nvmlDeviceGetHandleByUUID(part))
            except pynvml.NVMLError:
                continue
        return found

    def knows(self, part: str) -> bool:
        """Whether a MIG slice of this UUID exists; it is read from now on."""
        self.parts.append(part)
        if part in self():
            return True
        self.parts.remove(part)
        return False


def _memory(pynvml: Any, handle: Any) -> Memory:
    try:
        told = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)  # as nvidia-smi shows it
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported):
        told = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Memory(told.used / GIB, told.total / GIB)


class Smi:
    """The program nvidia-smi."""

    COMMAND = ("nvidia-smi", "--query-gpu=index,uuid,memory.used,memory.total", "--format=csv,noheader,nounits")

    def gpus(self) -> list[Gpu]:
        return [Gpu(row[0], row[1]) for row in self._rows()]

    def __call__(self) -> Mapping[str, Memory]:
        found: dict[str, Memory] = {}
        for index, uuid, used, total in self._rows():
            try:
                found[index] = found[uuid] = Memory(float(used) * MIB / GIB, float(total) * MIB / GIB)
            except ValueError:  # such as [N/A] or [GPU requires reset]
                continue
        return found

    def _rows(self) -> list[list[str]]:
        try:
            told = subprocess.run(self.COMMAND, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return []
        rows = [[cell.strip() for cell in line.split(",")] for line in told.stdout.splitlines()]
        return [row for row in rows if len(row) == 4 and row[0].isdigit()]


class Given:
    """A function of the user's own: no arguments; GiB in use, or a pair of used and total, by GPU."""

    def __init__(self, call: Callable[[], Mapping[Any, Any]]) -> None:
        self.call = call

    def gpus(self) -> list[Gpu]:
        return [Gpu(name, name) for name in self()]

    def __call__(self) -> Mapping[str, Memory]:
        return {
            str(name): Memory(*map(float, value)) if isinstance(value, tuple | list) else Memory(float(value))
            for name, value in self.call().items()
        }


def source(name: str) -> Source:
    """By name: nvml, nvidia-smi, none, or the import path of a function."""
    if name in ("nvml", "nvidia-smi", "none"):
        return {"nvml": Nvml, "nvidia-smi": Smi, "none": Blind}[name]()
    from hydra.utils import get_method

    do = "correct the import path, or set hydra.launcher.probe=nvml, nvidia-smi or none"
    if "." not in name:
        raise ConfigError(f"probe={name}", "nvml, nvidia-smi, none, or the import path of a function", do)
    try:
        return Given(get_method(name))
    except (ImportError, ValueError) as error:  # Hydra makes them of whatever an import may raise
        raise ConfigError(f"probe={name}: {error}", "a function that can be imported", do) from error
