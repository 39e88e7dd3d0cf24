"""Which GPUs a queue may use: from what the user names, what exists, and an outer CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from worldmodels.core.errors import ConfigError
from worldmodels.launch.queue.nouns import Device
from worldmodels.launch.queue.probe import Blind, Gpu, Nvml, Source

OUTER = "CUDA_VISIBLE_DEVICES"


def devices(
    wanted: str | Sequence[int | str] | None,
    slots_per_gpu: int,
    cpu_slots: int,
    source: Source,
    env: Mapping[str, str] = os.environ,
) -> list[Device]:
    """The places of a queue. wanted: auto, indices or UUIDs; none, or auto without any GPU, means CPU slots.

    With an outer CUDA_VISIBLE_DEVICES, index i is the i-th of its entries, as it would be for a CUDA program.
    """
    for name, value in (("slots_per_gpu", slots_per_gpu), ("slots", cpu_slots)):
        if value < 1:
            raise ConfigError(f"{name}={value}", "at least 1", f"set hydra.launcher.{name} to one")
    if isinstance(wanted, int):
        wanted = [wanted]
    gpus = source.gpus()
    seen = _outer(env, gpus)
    if wanted == "auto" or wanted is None:
        names = seen if seen is not None else [gpu.index for gpu in gpus]
    elif isinstance(wanted, str):
        do = "set hydra.launcher.gpus=[0,1], or hydra.launcher.gpus=[] for CPUs"
        raise ConfigError(f"gpus={wanted}", "auto, or a list of indices or UUIDs", do)
    else:
        names = [_visible(str(each).strip(), seen, gpus, source) for each in wanted]
    if not names:
        return [Device("cpu", cpu_slots, visible="" if wanted == [] else None)]
    same = [found.uuid if (found := _find(name, gpus)) else name for name in names]
    if twice := {name for name, gpu in zip(names, same, strict=True) if same.count(gpu) > 1}:
        do = "name each once; hydra.launcher.slots_per_gpu says how many runs share one"
        raise ConfigError(f"gpus={wanted}: {', '.join(sorted(twice))} more than once", "different GPUs", do)
    measured = not isinstance(source, Blind)
    return [Device(name, slots_per_gpu, visible=name, measured=measured) for name in names]


def _outer(env: Mapping[str, str], gpus: Sequence[Gpu]) -> list[str] | None:
    """The entries of an outer CUDA_VISIBLE_DEVICES; as CUDA does, up to the first that does not exist."""
    if OUTER not in env:
        return None
    entries: list[str] = []
    for entry in (each.strip() for each in env[OUTER].split(",")):
        if not entry or entry == "-1" or (entry.isdigit() and gpus and _find(entry, gpus) is None):
            break
        entries.append(entry)
    return entries


def _visible(name: str, seen: list[str] | None, gpus: Sequence[Gpu], source: Source) -> str:
    """What to write into CUDA_VISIBLE_DEVICES for an index or UUID; ConfigError for one that is not there."""
    if isinstance(source, Blind):
        if seen is None or not name.isdigit():
            return name  # nothing to check it with
    elif not name.isdigit() and name.startswith("MIG-") and isinstance(source, Nvml) and source.knows(name):
        return name
    if name.isdigit() and seen is not None:
        if int(name) < len(seen):
            return seen[int(name)]
        raise _unknown(name, [str(index) for index in range(len(seen))], f"{OUTER} is {','.join(seen) or 'empty'}")
    found = _find(name, gpus)
    if found is None or (seen is not None and found.index not in seen and found.uuid not in seen):
        there = [f"{gpu.index} ({gpu.uuid})" if gpu.uuid != gpu.index else gpu.index for gpu in gpus]
        raise _unknown(name, there, f"{OUTER} is {','.join(seen)}" if seen is not None else "")
    return found.index if name.isdigit() else found.uuid


def _find(name: str, gpus: Sequence[Gpu]) -> Gpu | None:
    """By index, or by UUID or the beginning of one, which CUDA takes too."""
    exact = [gpu for gpu in gpus if name in (gpu.index, gpu.uuid)]
    begins = [gpu for gpu in gpus if not name.isdigit() and name and gpu.uuid.startswith(name)]
    return (exact or (begins if len(begins) == 1 else [None]))[0]


def _unknown(name: str, there: list[str], note: str) -> ConfigError:
    found = f"there is no GPU {name}" + (f" ({note})" if note else "")
    do = "correct gpus" if there else "correct gpus; with probe=none they are taken as they are named"
    return ConfigError(found, "one of " + ", ".join(there) if there else "a GPU; none can be seen here", do)
