"""One step of recurrence: gated cells that differ in how they mix and normalise.

All cells map an input (..., I) and a state (..., D) to the next state (..., D), and start from zeros.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.nn.mlp import TRUNCATION, init_weights
from worldmodels.nn.norm import NormKind, make_norm

CellKind = Literal["torch", "norm", "block"]


class BlockLinear(nn.Module):
    """A linear map whose matrix is block-diagonal: block g of the input feeds block g of the output only.

    It costs 1 / blocks of a dense layer. Hafner et al. (2024), "Block GRU".
    """

    def __init__(self, size_in: int, size_out: int, blocks: int) -> None:
        super().__init__()
        if size_in % blocks or size_out % blocks:
            raise ConfigError(
                f"{blocks} blocks for sizes {size_in} and {size_out}", "sizes that the blocks divide", "change `blocks`"
            )
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(blocks, size_in // blocks, size_out // blocks))
        self.bias = nn.Parameter(torch.zeros(size_out))
        # Truncated normal by the fan-in of one block, as every dense layer of DreamerV3.
        deviation = TRUNCATION * self.weight.shape[1] ** -0.5
        nn.init.trunc_normal_(self.weight, std=deviation, a=-2 * deviation, b=2 * deviation)

    def forward(self, x: Float[Tensor, "B I"]) -> Float[Tensor, "B O"]:
        grouped = x.unflatten(-1, (self.blocks, -1)).transpose(0, 1)  # (G, B, I / G)
        return torch.bmm(grouped, self.weight).transpose(0, 1).flatten(1) + self.bias


class NormGRU(nn.Module):
    """GRU with one normalisation over all gates, update bias -1, candidate tanh(reset * cand).

    The cell of DreamerV2 (Hafner et al., 2021, app. C), where the normalisation is by layer.
    """

    def __init__(self, size_in: int, size: int, norm: NormKind = "rms") -> None:
        super().__init__()
        self.linear = nn.Linear(size_in + size, 3 * size, bias=False)
        self.norm = make_norm(norm, 3 * size)
        init_weights(self.linear)

    def forward(self, x: Float[Tensor, "B I"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return gate(self.norm(self.linear(torch.cat([x, state], -1))), state)


class BlockGRU(nn.Module):
    """Two block-diagonal layers; every block sees its own slice of the state, the input, and a digest of all the state.

    Through the digest the blocks hear of each other. Hafner et al. (2024), "Block GRU". x is the already mixed input
    (DreamerV3's code mixes latent and action each on its own).
    """

    def __init__(self, size_in: int, size: int, blocks: int = 8, norm: NormKind = "rms") -> None:
        super().__init__()
        self.blocks = blocks
        self.digest = nn.Linear(size, size_in)
        self.digest_norm = make_norm(norm, size_in)
        self.hidden = BlockLinear(2 * blocks * size_in + size, size, blocks)
        self.norm = make_norm(norm, size)
        self.gates = BlockLinear(size, 3 * size, blocks)
        init_weights(self.digest)

    def forward(self, x: Float[Tensor, "B I"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        own = state.unflatten(-1, (self.blocks, -1))  # (B, G, D / G)
        digest = F.silu(self.digest_norm(self.digest(state)))
        seen = torch.cat([x, digest], -1).unsqueeze(1).expand(-1, self.blocks, -1)
        mixed = F.silu(self.norm(self.hidden(torch.cat([own, seen], -1).flatten(1))))
        # The blocks' outputs hold their own three gates side by side; bring each gate together.
        gates = self.gates(mixed).unflatten(-1, (self.blocks, 3, -1)).transpose(1, 2).flatten(1)
        return gate(gates, state)


class TorchGRU(nn.Module):
    """The plain GRU of torch. Cho et al. (2014)."""

    def __init__(self, size_in: int, size: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(size_in, size)

    def forward(self, x: Float[Tensor, "B I"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        with torch.autocast(x.device.type, enabled=False):  # which would round the state, as `gate` must not
            return self.cell(x.to(state.dtype), state)


def gate(gates: Float[Tensor, "B gates"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Next state from the pre-activations of reset, candidate and update, in this order."""
    # Under autocast the state stays in full precision, so that small changes add up over time.
    reset, candidate, update = gates.to(state.dtype).chunk(3, -1)
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    return torch.lerp(state, candidate, torch.sigmoid(update - 1))


def make_cell(kind: str, size_in: int, size: int, *, blocks: int, norm: NormKind) -> nn.Module:
    if kind == "torch":
        return TorchGRU(size_in, size)
    if kind == "norm":
        return NormGRU(size_in, size, norm)
    if kind == "block":
        return BlockGRU(size_in, size, blocks, norm)
    raise ConfigError(f"gru={kind!r}", "torch, norm or block", "choose one of them")
