"""Every preset has the layers that its source says: parameters counted on paper, part by part."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch

from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.launch.choices import conf
from worldmodels.launch.compose import config, make
from worldmodels.model.rssm import RSSM, RSSMBelief
from worldmodels.model.unroll import follow, track

MINATAR = EnvSpec("minatar", {"grid": ArraySpec((10, 10, 7), "bool", "planes")}, 6)
ATARI = EnvSpec("atari", {"image": ArraySpec((64, 64, 3), "uint8", "image")}, 18)
DMLAB = EnvSpec("dmlab", {"image": ArraySpec((64, 64, 3), "uint8", "image")}, 15)
SIX = EnvSpec("any", {"image": ArraySpec((64, 64, 3), "uint8", "image")}, 6)
MINIGRID = EnvSpec("minigrid", {"symbols": ArraySpec((7, 7, 3), "uint8", "symbols", (11, 6, 4))}, 7)
VECTOR = EnvSpec("vector", {"vector": ArraySpec((17,), "float32")}, 6, discrete=False)
SEEN = EnvSpec("both", {**SIX.obs, **VECTOR.obs}, 6)
PRESETS = sorted(path.stem for path in (conf() / "model").glob("*.yaml"))
RECURRENT = [name for name in PRESETS if not name.startswith(("muzero", "efficientzero"))]
SIZES = {  # spec 3.2: deter, hidden, classes, depth
    "1M": (512, 64, 4, 4),
    "12M": (2048, 256, 16, 16),
    "25M": (3072, 384, 24, 24),
    "50M": (4096, 512, 32, 32),
    "100M": (6144, 768, 48, 48),
    "200M": (8192, 1024, 64, 64),
    "400M": (12288, 1536, 96, 96),
}


@cache
def recipe(*words: str) -> Callable[[EnvSpec], RSSM]:
    return make(config("train", list(words)).model)


def model(spec: EnvSpec, *words: str) -> RSSM:
    """Of shapes alone, without numbers."""
    with torch.device("meta"):
        return recipe(*words)(spec)


@cache
def six(*words: str) -> dict[str, int]:
    return counts(model(SIX, *words))


def small(name: str) -> RSSM:
    """A preset in small, for grids of 10 x 10, with weights that all matter."""
    sizes = [
        "recurrence.deter=16",
        "recurrence.hidden=6",
        "recurrence.stoch=3",
        "recurrence.classes=4",
        "encoder.depth=2",
    ]
    torch.manual_seed(0)
    whole = make(config("train", [f"model={name}", *[f"model.{each}" for each in sizes]]).model)(MINATAR)
    for parameter in whole.rssm.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return whole


@pytest.mark.parametrize("name", RECURRENT)
def test_a_preset_tracks_all_at_once_as_one_by_one_forgets_at_an_opening_and_dreams_blind(name: str) -> None:
    whole, rng = small(name), torch.Generator()
    obs = torch.rand(2, 6, 10, 10, 7, generator=rng.manual_seed(1)) > 0.7
    action = torch.nn.functional.one_hot(torch.randint(6, (2, 6), generator=rng), 6).float()
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[1, 3] = first[:, 0] = True
    action = action * ~first[..., None]

    def track_both(seen: torch.Tensor) -> list[RSSMBelief]:
        embed = whole.encode({"grid": seen})
        return [way(action, embed, first, rng=rng.manual_seed(2)) for way in (whole.track, partial(track, whole))]

    fast, slow = track_both(obs)
    for key, value in vars(fast).items():
        torch.testing.assert_close(value, getattr(slow, key), atol=1e-5, rtol=1e-5)
    late = obs.clone()
    late[:, :3] = ~late[:, :3]
    other = track_both(late)[0]
    torch.testing.assert_close(fast.deter[1, 3:], other.deter[1, 3:])  # where an episode opened, nothing is left
    torch.testing.assert_close(fast.post[1, 3:], other.post[1, 3:])
    assert not torch.allclose(fast.deter[0, 3:], other.deter[0, 3:])
    zero = whole.observe(whole.initial(2), torch.zeros(2, 6), whole.encode({"grid": obs[:, 3]}))
    torch.testing.assert_close(fast.post[1, 3], zero.post[1])
    blind = follow(whole, fast.map(lambda x: x[:, -1]), action, rng=rng.manual_seed(3))
    again = follow(whole, fast.map(lambda x: x[:, -1]), action, rng=rng.manual_seed(3))
    assert torch.equal(blind.deter, again.deter)
    torch.testing.assert_close(blind.post, blind.prior)


def counts(whole: RSSM) -> dict[str, int]:
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in whole.named_children()}
    heads: Any = whole.heads
    parts["reward"], parts["cont"] = (sum(p.numel() for p in part.parameters()) for part in (heads.reward, heads.cont))
    del parts["heads"]
    return parts


def linear(before: int, after: int, *, bias: bool = True) -> int:
    return before * after + bias * after


def conv(before: int, after: int, kernel: int) -> int:
    return before * after * kernel**2 + after


def mlp(size: int, width: int, depth: int, out: int, norm: int) -> int:
    """Layers of linear and norm, then a linear one; norm: numbers per unit, 2 of a layer norm, 1 of an RMS norm."""
    total, before = 0, size
    for _ in range(depth):
        total += linear(before, width) + norm * width
        before = width
    return total + linear(before, out)


def pydreamer(*, deter: int, hidden: int, actions: int, depth: int, picture: int, small: bool) -> dict[str, int]:
    """Sections 1.2 to 1.4 of pydreamer's DreamerV2: `cnn`, or `cnn_minatar` where small; `picture` channels."""
    latent, embed = 32 * 32, 32 * depth
    feature = deter + latent
    down, up = ((3, 3, 3, 3), (2, 3, 4, 4)) if small else ((4, 4, 4, 4), (5, 5, 6, 6))
    ladder = (picture, depth, 2 * depth, 4 * depth, 8 * depth)
    back = (32 * depth, 4 * depth, 2 * depth, depth, picture)
    core = linear(latent, hidden) + linear(actions, hidden, bias=False) + 2 * hidden  # za, its norm
    core += 3 * (hidden + deter) * deter + 6 * deter  # torch's GRU has two biases
    core += linear(deter, hidden) + linear(embed, hidden, bias=False) + 2 * hidden + linear(hidden, latent)  # post
    core += linear(deter, hidden) + 2 * hidden + linear(hidden, latent)  # prior
    return {
        "encoder": sum(conv(ladder[i], ladder[i + 1], down[i]) for i in range(4)),
        "rssm": core,
        "decoder": linear(feature, 32 * depth) + sum(conv(back[i], back[i + 1], up[i]) for i in range(4)),
        "reward": mlp(feature, 400, 4, 1, norm=2),
        "cont": mlp(feature, 400, 4, 1, norm=2),
    }


def test_pydreamers_presets_have_its_layers() -> None:
    built = counts(model(MINATAR, "model=dreamerv2_pydreamer_minatar"))
    assert built == pydreamer(deter=256, hidden=200, actions=6, depth=8, picture=7, small=True)
    built = counts(model(ATARI, "model=dreamerv2_pydreamer_atari"))
    assert built == pydreamer(deter=1024, hidden=1000, actions=18, depth=48, picture=3, small=False)
    wide = pydreamer(deter=2048, hidden=1000, actions=15, depth=48, picture=3, small=False)
    for name in ("dreamerv2_pydreamer", "dreamerv2_pydreamer_dmlab"):
        assert counts(model(DMLAB, f"model={name}")) == wide


def test_pydreamers_vectors_and_grids_go_through_its_dense_networks() -> None:
    """vecobs: two layers of 400, then 256; back by four of 400. dense: three of 400, then 256; back by two."""
    feature = 2048 + 1024
    built = counts(model(VECTOR, "model=dreamerv2_pydreamer"))
    assert built["encoder"] == mlp(17, 400, 2, 256, norm=2)
    assert built["decoder"] == mlp(feature, 400, 4, 17, norm=2)
    cells = 7 * 7 * 21
    built = counts(model(MINIGRID, "model=dreamerv2_pydreamer", "model.encoder.layers=3", "model.decoder.layers=2"))
    assert built["encoder"] == mlp(cells, 400, 3, 256, norm=2)
    assert built["decoder"] == mlp(feature, 400, 2, cells, norm=2)


def dreamerv3(
    deter: int, hidden: int, classes: int, depth: int, *, actions: int = 6, vector: int = 0
) -> dict[str, int]:
    """Sections 3.1 and 3.2, for pictures of 64 x 64 x 3: four stages of kernel 5, blocks of 8, RMS norms."""
    latent, blocks = 32 * classes, 8
    feature, embed = deter + latent, 4 * 4 * 4 * depth
    ladder = (3, 2 * depth, 3 * depth, 4 * depth, 4 * depth)
    encoder = sum(conv(ladder[i], ladder[i + 1], 5) + ladder[i + 1] for i in range(4))

    def layer(before: int) -> int:
        return linear(before, hidden) + hidden

    def block_linear(before: int, after: int) -> int:
        return before * after // blocks + after

    core = layer(deter) + layer(latent) + layer(actions)
    core += block_linear(deter + 3 * hidden * blocks, deter) + deter + block_linear(deter, 3 * deter)
    core += layer(deter + embed) + linear(hidden, latent)  # post
    core += layer(deter) + layer(hidden) + linear(hidden, latent)  # prior
    start = block_linear(deter, embed) + linear(latent, 2 * hidden) + 2 * hidden + linear(2 * hidden, embed)
    back = (4 * depth, 4 * depth, 3 * depth, 2 * depth, 3)
    decoder = start + sum(conv(back[i], back[i + 1], 5) + back[i] for i in range(4))
    return {
        "encoder": encoder,
        "rssm": core,
        "decoder": decoder,
        "reward": mlp(feature, hidden, 1, 255, norm=1),
        "cont": mlp(feature, hidden, 1, 1, norm=1),
    }


def test_every_size_of_dreamerv3_has_its_layers() -> None:
    for name, numbers in SIZES.items():
        assert six("model=dreamerv3", f"model/size={name}") == dreamerv3(*numbers), name
    assert six("model=dreamerv3") == dreamerv3(*SIZES["200M"])  # the paper's own size
    assert six("model=rssm") == dreamerv3(*SIZES["12M"])


def test_dreamerv3_is_as_large_as_its_name_says() -> None:
    """With actor and critic, which have three layers of `hidden` units."""
    for name, (deter, hidden, classes, depth) in SIZES.items():
        feature = deter + 32 * classes
        total = sum(dreamerv3(deter, hidden, classes, depth).values())
        total += mlp(feature, hidden, 3, 6, norm=1) + mlp(feature, hidden, 3, 255, norm=1)
        assert total / 1e6 == pytest.approx(float(name[:-1]), rel=0.35), name


def test_r2dreamer_has_a_projector_in_place_of_a_decoder() -> None:
    expected = dreamerv3(*SIZES["12M"])
    del expected["decoder"]
    expected["representation"] = (2048 + 512) * 4 * 4 * 64
    assert six("model=r2dreamer") == expected


def test_dreamerv2_has_its_layers() -> None:
    """Hafner et al. (2021), app. D: 600 units, a layer norm in the cell alone, grey pictures."""
    grey = EnvSpec("atari", {"image": ArraySpec((64, 64, 1), "uint8", "image")}, 18)
    ladder, back = (1, 48, 96, 192, 384), (1536, 192, 96, 48, 1)
    core = linear(1024 + 18, 600) + 3 * 1200 * 600 + 2 * 1800
    core += linear(600 + 1536, 600) + linear(600, 1024) + linear(600, 600) + linear(600, 1024)
    assert counts(model(grey, "model=dreamerv2")) == {
        "encoder": sum(conv(ladder[i], ladder[i + 1], 4) for i in range(4)),
        "rssm": core,
        "decoder": linear(1624, 1536) + sum(conv(back[i], back[i + 1], (5, 5, 6, 6)[i]) for i in range(4)),
        "reward": mlp(1624, 400, 4, 1, norm=0),
        "cont": mlp(1624, 400, 4, 1, norm=0),
    }


def test_every_preset_takes_every_world() -> None:
    for name in RECURRENT:
        with torch.device("meta"):
            build = recipe(f"model={name}")
            for spec in (MINATAR, ATARI, MINIGRID, VECTOR, SEEN):
                whole = build(spec)
                belief = whole.initial(2)
                told = whole.decode(belief)
                assert told.reward.shape == told.cont.shape == (2,)
                if whole.decoder is not None:
                    shapes = {key: tuple(value.shape[1:]) for key, value in told.obs.items()}
                    assert shapes == {key: array.shape for key, array in spec.obs.items()}, name


def test_the_page_of_models_tells_true_numbers() -> None:
    page = (conf().parent / "docs" / "models.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    told = {cells[0].strip(" `"): cells[-1].strip() for cells in rows}
    assert set(PRESETS) - {"dreamerv2_pydreamer_dmlab"} | set(SIZES) <= told.keys()
    for name, number in told.items():
        words = [f"model={name}"] if name in PRESETS else ["model=dreamerv3", f"model/size={name}"]
        if name in PRESETS or name in SIZES:
            whole = model(SIX, *words)
            assert sum(p.numel() for p in whole.parameters()) == int(number.replace(",", "")), name
