import numpy as np
import pytest
import torch

from worldmodels.core.errors import SpecError
from worldmodels.core.experience import Episode, join
from worldmodels.core.rng import Rng
from worldmodels.core.snapshot import freeze, thaw
from worldmodels.core.spec import ArraySpec, EnvSpec


def piece(start: int, steps: int, **ending: bool) -> Episode:
    clock = np.arange(start, start + steps + 1, dtype=np.float32)[:, None]
    flags = {"terminated": False, "truncated": False, **ending}
    return Episode({"clock": clock}, np.arange(start, start + steps), clock[1:, 0], **flags, number=7, start=start)


def test_an_episode_without_its_final_observation_is_refused():
    with pytest.raises(SpecError, match="keep the observation after the last action"):
        Episode({"x": np.zeros((3, 1))}, np.zeros(3, np.int64), np.zeros(3, np.float32), True, False)


def test_joined_pieces_equal_the_episode_they_were_cut_from():
    whole, joined = piece(0, 10, terminated=True), join([piece(0, 4), piece(4, 3), piece(7, 3, terminated=True)])
    np.testing.assert_array_equal(joined.obs["clock"], whole.obs["clock"])
    np.testing.assert_array_equal(joined.action, whole.action)
    np.testing.assert_array_equal(joined.reward, whole.reward)
    assert joined.terminated
    assert not joined.truncated
    assert joined.start == 0


def test_pieces_with_a_gap_do_not_join():
    with pytest.raises(SpecError, match="consecutive"):
        join([piece(0, 4), piece(5, 3)])


def test_names_and_seeds_give_independent_reproducible_numbers():
    draws = {
        key: Rng(seed, *names).numpy.integers(1 << 60)
        for key, (seed, names) in {
            "a": (0, ("env", 0)), "b": (0, ("env", 1)), "c": (1, ("env", 0)), "d": (0, ("env",)), "e": (0, ("policy",)),
        }.items()
    }  # fmt: skip
    assert len(set(draws.values())) == 5
    assert Rng(0, "env").child(0).numpy.integers(1 << 60) == draws["a"]
    assert Rng(0, "env").seeds(8)[:3] == Rng(0, "env").seeds(3)


def test_a_restored_generator_goes_on_where_it_was():
    rng = Rng(0, "x")
    rng.numpy.normal(size=3)
    torch.rand(3, generator=rng.torch)
    state = rng.snapshot()
    expected = rng.numpy.normal(), torch.rand(1, generator=rng.torch)
    other = Rng(5, "y")
    other.restore(state)
    assert (other.numpy.normal(), torch.rand(1, generator=other.torch)) == expected


def test_frozen_state_survives_a_weights_only_checkpoint(tmp_path):
    state = {"a": (1, 2.5), 3: {np.int64(4)}, "g": np.random.default_rng(1), "r": np.random.RandomState(2)}
    state |= {
        "x": np.arange(6).reshape(2, 3),
        "b": b"\x00\xff",
        "none": None,
        "s": np.float32(0.1),
        "flag": np.bool_(1),
    }
    torch.save(freeze(state), tmp_path / "x.pt")
    back = thaw(torch.load(tmp_path / "x.pt", weights_only=True))
    assert back["a"] == (1, 2.5)
    assert back[3] == {4}
    assert back["b"] == b"\x00\xff"
    assert back["s"] == np.float32(0.1)
    assert back["s"].dtype == np.float32
    np.testing.assert_array_equal(back["x"], state["x"])
    assert back["g"].integers(1 << 30) == state["g"].integers(1 << 30)
    assert back["r"].randint(1 << 30) == state["r"].randint(1 << 30)


def test_what_can_not_be_promised_back_is_refused():
    with pytest.raises(TypeError, match="can not freeze"):
        freeze({"x": object()})


def test_specs_survive_json_and_tell_their_differences():
    spec = EnvSpec("a", {"grid": ArraySpec((7, 7, 3), "uint8", "symbols", (11, 6, 4))}, 3)
    assert EnvSpec.from_json(spec.to_json()) == spec
    other = EnvSpec("b", {"grid": ArraySpec((7, 7, 3), "uint8", "image")}, 4)
    assert [line.split(":")[0] for line in spec.differences(other)] == ["obs['grid']", "actions"]
