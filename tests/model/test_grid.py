from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.launch import compose
from worldmodels.launch.build import build_stage
from worldmodels.model.grid import GridDynamics, GridRepresentation, Residual, Squeeze
from worldmodels.model.muzero import MuZero
from worldmodels.nn.heads import TransformedHead
from worldmodels.nn.mlp import MLP
from worldmodels.stage.consistency import NCE, Seen

ATARI = EnvSpec("atari", {"image": ArraySpec((96, 96, 4), "uint8", "image")}, 6)
BREAKOUT = EnvSpec("breakout", {"grid": ArraySpec((10, 10, 4), "bool", "planes")}, 3)


def make(spec: EnvSpec) -> MuZero:
    torch.manual_seed(0)
    head = partial(TransformedHead, units=8, bins=21, limit=5.0)
    parts = (partial(GridRepresentation, channels=8, blocks=[1, 1, 1]), partial(GridDynamics, blocks=1), Squeeze)
    made = MuZero(spec, *parts, head, head, partial(MLP, width=8, depth=0))
    for p in made.parameters():  # heads begin at zero
        p.data.add_(0.1 * torch.randn_like(p))
    return made


@pytest.mark.parametrize(("spec", "shape"), [(ATARI, (8, 6, 6)), (BREAKOUT, (8, 10, 10))], ids=["atari", "minatar"])
def test_latents_are_grids_that_each_follow_their_own_action(spec: EnvSpec, shape: tuple[int, ...]) -> None:
    model, (name, array) = make(spec), next(iter(spec.obs.items()))
    obs = {name: torch.randint(2, (5, *array.shape)).to(getattr(torch, array.dtype))}
    latent, action = model.encode(obs), F.one_hot(torch.arange(5) % spec.action_size, spec.action_size).float()
    assert latent.shape == (5, *shape)
    together = model.advance(latent, action)
    for i in range(5):
        torch.testing.assert_close(together[i], model.advance(latent[i], action[i]))
    assert (model.advance(latent, action.roll(1, 1)) != together).flatten(1).any(1).all()
    assert model.prior(together).shape == (5, spec.action_size)
    assert model.value(together).shape == (5,)


def test_a_block_is_what_it_says() -> None:
    block = Residual(3, "layer", "relu")
    x = torch.randn(2, 3, 5, 5)
    first, _, norm, second, last = block.net
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    inner = norm(F.conv2d(padded, first.weight, first.bias).relu())
    out = last(F.conv2d(F.pad(inner, (1, 1, 1, 1), mode="reflect"), second.weight, second.bias))
    torch.testing.assert_close(block(x), (x + out).relu())
    torch.testing.assert_close(norm(x).mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)


def test_actions_may_scale_and_shift_what_every_block_reads() -> None:
    model = GridDynamics((8, 5, 5), 3, blocks=2, film=True)
    latent, action = torch.rand(4, 8, 5, 5), torch.eye(3)[[0, 1, 2, 1]]
    enter, (first, second), leave = model.enter, model.blocks, model.leave
    x = enter(latent)
    for block in (first, second):
        scale, shift = block.read(model.embed(action)).chunk(2, -1)
        normed = F.group_norm(x, 1) * (1 + scale[..., None, None]) + shift[..., None, None]
        x = block.block(normed)
    torch.testing.assert_close(model(latent, action), leave(x))
    for p in model.parameters():  # each has a say
        found = model(latent, action)
        with torch.no_grad():
            before = p.clone()
            p += 0.1 * torch.rand_like(p)
        assert not torch.equal(model(latent, action), found)
        with torch.no_grad():
            p.copy_(before)


def test_every_place_is_told_apart_by_nce() -> None:
    """The loss of a batch is the mean of what it is at each place alone."""
    torch.manual_seed(0)
    model, encoder = make(BREAKOUT), partial(GridRepresentation, channels=8, blocks=[1])
    nce = NCE(model, encoder)
    latents, obs = torch.rand(4, 3, 8, 10, 10), {"grid": torch.rand(4, 3, 10, 10, 4) > 0.5}
    seen = Seen(obs, torch.ones(4, 3, dtype=torch.bool), lambda obs: obs["grid"])
    whole, _ = nce(latents, seen)
    places = nce.places(latents)
    assert places.shape == (4, 3, 100, 8)
    assert torch.equal(places[1, 2, 37], latents[1, 2, :, 3, 7])
    assert whole.shape == (4, 3)
    with pytest.raises(ConfigError, match="as many places in both"):
        NCE(model, lambda spec, **style: GridRepresentation(ATARI, channels=8, blocks=[1, 1, 1]))


def test_worlds_without_one_picture_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"one picture[\s\S]*take model=muzero"):
        GridRepresentation(EnvSpec("v", {"vector": ArraySpec((3,), "float32")}, 4))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["model=muzero", "model/representation=grid"], "model/dynamics=vector"),
        (["model=muzero", "model/dynamics=grid"], "model/dynamics=grid"),
        (["model=muzero", "model/neck=squeeze"], "model/neck=squeeze"),
    ],
)
def test_parts_that_do_not_go_together_are_named(words: list[str], part: str) -> None:
    cfg = compose.config("train", ["+experiment=gumbel_muzero", *words])
    with pytest.raises(ConfigError, match=f"{part} with latents of shape"):
        build_stage(cfg, compose.make(cfg.data).spec(compose.make(cfg.env)))
