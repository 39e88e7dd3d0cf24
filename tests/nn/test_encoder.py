from __future__ import annotations

import numpy as np
import pytest
import torch

from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.nn.decoder import Decoder
from worldmodels.nn.encoder import Encoder, float_shape, to_float

ARRAYS = {
    "image": ArraySpec((32, 32, 3), "uint8", "image"),
    "grid": ArraySpec((10, 10, 4), "bool", "planes"),
    "symbols": ArraySpec((7, 7, 2), "uint8", "symbols", (5, 3)),
    "vector": ArraySpec((6,), "float64"),
    "number": ArraySpec((), "int64"),
}
SPEC = EnvSpec("mixture", ARRAYS, 3)


def draw(*leading: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    obs = {}
    for name, spec in ARRAYS.items():
        top = {"image": 256, "planes": 2, "symbols": min(spec.classes, default=2), "vector": 9}[spec.kind]
        obs[name] = torch.from_numpy(
            rng.integers(0, top, (*leading, *spec.shape)).astype(spec.dtype).reshape(*leading, *spec.shape)
        )
    return obs


@pytest.mark.parametrize("name", ARRAYS)
def test_floats_have_the_declared_shape(name):
    x = to_float(ARRAYS[name], draw(2, 3)[name])
    assert x.shape == (2, 3, *float_shape(ARRAYS[name]))
    assert x.dtype == torch.float32


def test_images_come_out_between_zero_and_one_with_channels_first():
    image = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    image[0, 4, 5, 2] = 255
    x = to_float(ARRAYS["image"], image)
    assert x[0, 2, 4, 5] == 1
    assert x.sum() == 1


def test_symbols_become_one_plane_per_class_of_each_channel():
    symbols = torch.zeros(7, 7, 2, dtype=torch.uint8)
    symbols[1, 2] = torch.tensor([4, 2])
    x = to_float(ARRAYS["symbols"], symbols)
    assert x[:, 1, 2].tolist() == [0, 0, 0, 0, 1, 0, 0, 1]
    assert (x.sum(0) == 2).all()


@pytest.mark.parametrize("grid", ["conv", "mlp"])
def test_every_array_is_heard_and_any_leading_dimensions_will_do(grid):
    encoder, obs = Encoder(SPEC, depth=4, units=16, grid=grid), draw(2, 3)
    code = encoder(obs)
    assert code.shape == (2, 3, encoder.size)
    flat = encoder({name: x.flatten(0, 1) for name, x in obs.items()})
    torch.testing.assert_close(flat, code.flatten(0, 1), atol=1e-5, rtol=1e-4)
    for name, x in obs.items():
        changed = 1 - x if x.dtype != torch.bool else ~x
        if name == "symbols":
            changed = (x + 1) % 3
        assert not torch.equal(encoder({**obs, name: changed}), code), name


def test_symlog_tames_large_vectors():
    spec = EnvSpec("v", {"vector": ArraySpec((2,), "float32")}, 2)
    plain, tamed = (Encoder(spec, units=8, inputs={"symlog": symlog}, norm="none") for symlog in (False, True))
    tamed.load_state_dict(plain.state_dict())
    x = torch.tensor([1e6, -1e6])
    torch.testing.assert_close(tamed({"vector": x}), plain({"vector": x.sign() * torch.log1p(x.abs())}))


def test_the_nature_network_takes_stacked_greys():
    spec = EnvSpec("atari", {"image": ArraySpec((84, 84, 4), "uint8", "image")}, 4)
    encoder = Encoder(spec, style="nature")
    assert encoder({"image": torch.zeros(2, 84, 84, 4, dtype=torch.uint8)}).shape == (2, 3136)


@pytest.mark.parametrize("side", [(64, 64), (84, 84), (96, 96), (10, 10), (7, 7), (210, 160)])
def test_encoder_and_decoder_take_pictures_of_any_size_as_they_are_configured_for_dreamer(side):
    spec = EnvSpec("any", {"image": ArraySpec((*side, 3), "uint8", "image")}, 3)
    encoder, decoder = Encoder(spec, depth=2), Decoder(spec, 5, depth=2)
    assert encoder({"image": torch.zeros(2, *side, 3, dtype=torch.uint8)}).shape == (2, encoder.size)
    assert decoder(torch.zeros(2, 5))["image"].shape == (2, *side, 3)
