"""Booleans take a bit each in a store, and come back as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest

from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.bits import Bits
from worldmodels.data.column import Rows
from worldmodels.data.store import EpisodeStore

FEW = EnvSpec("few", {"grid": ArraySpec((3, 3, 7), "bool", "planes"), "switch": ArraySpec((2,), "bool")}, 2)  # 63 bits


def lived(number: int, steps: int) -> Episode:
    rng = np.random.default_rng(number)
    obs = {name: rng.random((steps + 1, *x.shape)) < 0.3 for name, x in FEW.obs.items()}
    return Episode(obs, np.zeros(steps, np.int64), np.zeros(steps, np.float32), True, False, number=number)


@pytest.mark.parametrize("size", [8, 9, 63, 400, 700])
def test_rows_come_back_whatever_is_left_of_their_last_byte(tmp_path, size):
    rows = np.random.default_rng(size).random((20, size)) < 0.5
    bits = Bits(tmp_path / "x.bits", ArraySpec((size,), "bool"), write=True)
    bits.write(0, bits.pack([rows[:15], rows[15:]]))
    index = np.array([[3, 4, 5], [19, 0, 14]])
    np.testing.assert_array_equal(bits.take(Rows(index)), rows[index])
    bits.trim(20)
    bits.close()
    assert (tmp_path / "x.bits").stat().st_size == 20 * -(-size // 8)


def test_a_store_keeps_planes_as_bits_and_a_few_switches_as_bytes(tmp_path):
    with EpisodeStore.create(tmp_path / "s", FEW) as store:
        store.extend([lived(0, 5), lived(1, 9)])
    again = EpisodeStore.open(tmp_path / "s")
    for number, steps in ((0, 5), (1, 9)):
        for name in FEW.obs:
            np.testing.assert_array_equal(again[number].obs[name], lived(number, steps).obs[name])
    window = again.windows(np.array([[1, 4]]), 5).obs["grid"]
    np.testing.assert_array_equal(window[0].numpy(), lived(1, 9).obs["grid"][4:])
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "s").iterdir()}
    assert (sizes["obs.grid.bits"], sizes["obs.switch.raw"]) == (16 * 8, 16 * 2)
    assert not again.verify()


def test_a_flipped_bit_is_found(tmp_path):
    with EpisodeStore.create(tmp_path / "s", FEW) as store:
        store.extend([lived(0, 5)])
        store.extend([lived(1, 9)])
    path = tmp_path / "s" / "obs.grid.bits"
    data = bytearray(path.read_bytes())
    data[6 * 8 + 3] ^= 4  # row 6: episode 1, step 0
    path.write_bytes(data)
    assert [(damage.episodes, damage.reason) for damage in EpisodeStore.open(tmp_path / "s").verify()] == [
        ((1,), "checksum of obs.grid differs")
    ]


def test_a_store_of_format_3_is_read_and_goes_on_with_a_byte_for_each_boolean(tmp_path, monkeypatch):
    monkeypatch.setattr("worldmodels.data.layout.worth", lambda spec: False)
    with EpisodeStore.create(tmp_path / "s", FEW) as store:
        store.extend([lived(0, 5)])
    head = json.loads((tmp_path / "s" / "store.json").read_text())
    assert head.pop("bits") == []
    (tmp_path / "s" / "store.json").write_text(json.dumps({**head, "format": 3}))
    monkeypatch.undo()
    with EpisodeStore.open(tmp_path / "s", write=True) as store:
        store.extend([lived(1, 9)])
    again = EpisodeStore.open(tmp_path / "s")
    np.testing.assert_array_equal(again[1].obs["grid"], lived(1, 9).obs["grid"])
    assert (tmp_path / "s" / "obs.grid.raw").stat().st_size == 16 * 63
