from __future__ import annotations

import pytest
import torch

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.nn.conv import ConvEncoder, Nature, plan
from worldmodels.nn.deconv import ConvDecoder, GrownConv


@pytest.mark.parametrize(
    ("shape", "style", "bottom"),
    [
        ((3, 64, 64), "pool", (16, 4, 4)),
        ((3, 64, 64), "stride", (32, 4, 4)),
        ((1, 32, 32), "auto", (16, 4, 4)),
        ((3, 96, 64), "pool", (16, 6, 4)),
        ((4, 10, 10), "auto", (8, 6, 6)),
        ((20, 7, 7), "grid", (8, 3, 3)),
        ((3, 128, 128), "auto", (16, 4, 4)),
        ((3, 84, 84), "auto", (16, 6, 6)),
        ((3, 84, 84), "stride", (32, 5, 5)),
        ((3, 96, 96), "auto", (16, 6, 6)),
        ((3, 210, 160), "auto", (16, 7, 5)),
        ((3, 33, 47), "pool", (16, 5, 6)),
        ((1, 33, 47), "stride", (16, 4, 5)),
        ((2, 7, 7), "pool", (8, 4, 4)),
        ((3, 64, 64), "valid", (32, 2, 2)),
        ((7, 10, 10), "valid", (32, 2, 2)),
        ((20, 7, 7), "valid", (16, 1, 1)),
        ((2, 12, 9), "valid", (32, 4, 1)),
    ],
)
def test_the_decoder_mirrors_the_encoder(shape, style, bottom):
    encoder = ConvEncoder(shape, 4, style=style)
    decoder = ConvDecoder(10, shape, 4, style=style)
    assert encoder.plan.bottom == decoder.plan.bottom == bottom
    assert encoder(torch.randn(2, 3, *shape)).shape == (2, 3, encoder.size)
    assert decoder(torch.randn(2, 3, 10)).shape == (2, 3, *shape)


@pytest.mark.parametrize("style", ["pool", "stride"])
def test_leading_dimensions_and_memory_layout_change_nothing(style):
    encoder = ConvEncoder((3, 32, 32), 4, style=style)
    rows_last = torch.randn(2, 3, 32, 32, 3)
    picture = rows_last.movedim(-1, -3)
    one_by_one = torch.stack([torch.stack([encoder(x.contiguous()) for x in row]) for row in picture])
    torch.testing.assert_close(encoder(picture), one_by_one, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("style", ["pool", "stride", "grid"])
@pytest.mark.parametrize("side", [(10, 10), (7, 7), (13, 9), (21, 22)])
def test_every_pixel_reaches_the_code_and_every_output_pixel_hears_the_feature(style, side):
    encoder, decoder = (ConvEncoder((2, *side), 8, style=style), ConvDecoder(12, (2, *side), 8, style=style))
    picture = torch.randn(64, 2, *side, requires_grad=True)  # many, since pooling listens to the loudest alone
    encoder(picture).square().sum().backward()
    assert picture.grad is not None
    assert (picture.grad != 0).any(0).all()
    assert (decoder(torch.randn(1, 12)) != decoder(torch.randn(1, 12))).all()


@pytest.mark.parametrize("side", [(8, 6), (7, 6), (7, 9)])
def test_a_grown_picture_is_the_convolution_of_repeated_pixels_and_so_are_its_gradients(side):
    rng = torch.Generator().manual_seed(0)
    small = torch.randn(2, 4, *[(n + 1) // 2 for n in side], generator=rng, dtype=torch.float64, requires_grad=True)
    grown = GrownConv(4, 3, side).double()
    repeated = torch.stack([small[..., row // 2, :] for row in range(side[0])], -2)
    repeated = torch.stack([repeated[..., column // 2] for column in range(side[1])], -1)
    naive = torch.nn.functional.conv2d(repeated, grown.weight, grown.bias, padding=2)
    upstream, found = torch.randn(naive.shape, generator=rng, dtype=torch.float64), []
    for picture in (naive, grown(small)):
        found.append((picture, *torch.autograd.grad(picture, [small, *grown.parameters()], upstream)))
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


def test_a_picture_of_84_pixels_can_be_learned_by_heart():
    torch.manual_seed(0)
    pictures = torch.zeros(3, 1, 84, 84)
    for n in range(3):
        pictures[n, 0, 20 * n : 20 * n + 31, 83 - 25 * n :] = 1.0
    encoder, decoder = ConvEncoder((1, 84, 84), 2), ConvDecoder(6 * 6 * 8, (1, 84, 84), 2)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
    for _ in range(60):
        loss = (decoder(encoder(pictures)).sigmoid() - pictures).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.02  # all grey: 0.25; all black: 0.09 and more


def test_valid_is_dreamerv2s_ladder_layer_by_layer():
    """Section 1.2 and 1.3 of pydreamer: 64-31-14-6-2 and back by 1-5-13-30-64, 10-8-6-4-2 and back by 1-2-4-7-10."""
    sides: list[int] = []

    def keep(layer: object, given: object, made: torch.Tensor) -> None:
        sides.append(made.shape[-1])

    for side, down, up in ((64, [31, 14, 6, 2], [5, 13, 30, 64]), (10, [8, 6, 4, 2], [2, 4, 7, 10])):
        encoder = ConvEncoder((3, side, side), 4, style="valid")
        decoder = ConvDecoder(9, (3, side, side), 4, style="valid")
        for layer in (*encoder.net, *decoder.net):
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                layer.register_forward_hook(keep)
        encoder(torch.randn(2, 3, side, side))
        decoder(torch.randn(2, 9))
        assert sides == [*down, *up]
        sides.clear()
        kinds = [type(layer).__name__ for layer in (*encoder.net, *decoder.net)]
        assert set(kinds) == {"Conv2d", "FromPixel", "ConvTranspose2d", "SiLU"}, "no norms"
        assert kinds[-1] == "ConvTranspose2d", "nothing after the last layer"


def test_a_picture_that_dreamerv2s_kernels_do_not_reach_is_refused():
    with pytest.raises(SpecError, match=r"64 x 64, or set model\.encoder\.style=pool"):
        ConvDecoder(9, (3, 96, 96), 4, style="valid")


def test_state_enters_a_picture_block_by_block_and_latents_everywhere():
    """DreamerV3's `bspace`: block g of the state gives its share of the channels."""
    torch.manual_seed(0)
    decoder = ConvDecoder(8 + 5, (3, 32, 32), 4, style="pool", deter=8, units=6, blocks=4)
    channels, height, width = decoder.plan.bottom

    def bottom(feature: torch.Tensor) -> torch.Tensor:
        return decoder.start(feature[None]).view(channels, height, width)

    heard = torch.autograd.functional.jacobian(bottom, torch.randn(13)).abs().sum((1, 2)) > 0  # (C, 13)
    for channel in range(channels):
        block = channel // (channels // 4)
        assert heard[channel, :8].tolist() == [i // 2 == block for i in range(8)]
        assert heard[channel, 8:].all()
    with pytest.raises(ConfigError, match="blocks divide"):
        ConvDecoder(13, (3, 32, 32), 4, style="pool", deter=7, units=6, blocks=4)


def test_a_picture_too_small_for_its_stages_is_refused_with_a_way_out():
    with pytest.raises(SpecError, match="fewer multipliers"):
        plan((3, 6, 6), 4, "grid", (1, 2, 4))
    with pytest.raises(SpecError, match="too small for 3 stages"):
        plan((3, 5, 64), 4, "stride", (1, 2, 4))


def test_nature_has_the_published_number_of_weights():
    net = Nature((4, 84, 84))
    assert net.size == 3136
    assert sum(p.numel() for p in net.parameters()) + 3136 * 512 + 512 == 1_684_128
    assert net(torch.rand(2, 5, 4, 84, 84)).shape == (2, 5, 3136)
