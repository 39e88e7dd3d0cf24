"""GPUs by what the user names, what exists, and an outer CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from worldmodels.core.errors import ConfigError
from worldmodels.launch.queue.devices import devices
from worldmodels.launch.queue.nouns import Device, Memory
from worldmodels.launch.queue.probe import Blind, Gpu

UUIDS = [f"GPU-{letter * 4}-0000" for letter in "abcd"]


class Four:
    """Four GPUs, all empty."""

    def gpus(self) -> list[Gpu]:
        return [Gpu(str(index), uuid) for index, uuid in enumerate(UUIDS)]

    def __call__(self) -> Mapping[str, Memory]:
        return {name: Memory(0.0, 80.0) for name in ["0", "1", "2", "3", *UUIDS]}


def visible(wanted: object, env: dict[str, str] | None = None, source: object = None) -> list[str | None]:
    found = devices(wanted, 2, 4, source or Four(), env or {})  # type: ignore[arg-type]
    return [device.visible for device in found]


def test_auto_takes_all_gpus() -> None:
    assert visible("auto") == ["0", "1", "2", "3"]


def test_auto_takes_what_an_outer_variable_leaves() -> None:
    assert visible("auto", {"CUDA_VISIBLE_DEVICES": "3,1"}) == ["3", "1"]
    assert visible("auto", {"CUDA_VISIBLE_DEVICES": f"{UUIDS[2]}"}) == [UUIDS[2]]


def test_an_index_counts_within_an_outer_variable() -> None:
    assert visible([1, 0], {"CUDA_VISIBLE_DEVICES": "3,1"}) == ["1", "3"]


def test_a_uuid_and_its_beginning_name_the_same_gpu() -> None:
    assert visible([UUIDS[1]]) == [UUIDS[1]]
    assert visible(["GPU-bb"]) == [UUIDS[1]]
    assert all(device.name in Four()() for device in devices(["GPU-bb"], 1, 1, Four(), {}))


def test_no_gpus_mean_cpu_slots_that_see_none() -> None:
    assert devices([], 2, 4, Four(), {}) == [Device("cpu", 4, visible="")]


def test_auto_without_any_gpu_means_cpu_slots() -> None:
    assert devices("auto", 2, 4, Blind(), {}) == [Device("cpu", 4)]


def test_an_empty_outer_variable_leaves_no_gpu() -> None:
    assert devices("auto", 1, 4, Four(), {"CUDA_VISIBLE_DEVICES": ""}) == [Device("cpu", 4)]


@pytest.mark.parametrize(
    ("wanted", "env", "words"),
    [
        ([0, 7], {}, "there is no GPU 7.*one of 0 .GPU-aaaa-0000., 1"),
        ([2], {"CUDA_VISIBLE_DEVICES": "3,1"}, "there is no GPU 2 .CUDA_VISIBLE_DEVICES is 3,1"),
        ([UUIDS[0]], {"CUDA_VISIBLE_DEVICES": "3,1"}, "there is no GPU GPU-aaaa"),
        (["GPU-"], {}, "there is no GPU GPU-"),
        ([-1], {}, "there is no GPU -1"),
        (["MIG-no-such"], {}, "there is no GPU MIG-no-such"),
        ([1, 1], {}, "1 more than once"),
        ([1, UUIDS[1]], {}, "more than once"),
        ("all", {}, "gpus=all"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(
    wanted: object, env: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        visible(wanted, env)


def test_without_a_probe_indices_are_believed() -> None:
    found = devices([0, 5], 3, 4, Blind(), {})
    assert found == [Device("0", 3, visible="0"), Device("5", 3, visible="5")]
