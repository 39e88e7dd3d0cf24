"""One step of recurrence: gated cells that differ in how they mix and normalise.

All cells map an input (..., I) and a state (..., D) to the next state (..., D), and start from zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.nn.late import by_block
from worldmodels.nn.mlp import TRUNCATION, Scheme, init_weights
from worldmodels.nn.norm import LayerNorm, NormKind, make_norm

CellKind = Literal["torch", "layernorm", "dv2", "block"]


class BlockLinear(nn.Module):
    """A linear map whose matrix is block-diagonal: block g of the input feeds block g of the output only.

    It costs 1 / blocks of a dense layer. Hafner et al. (2024), "Block GRU".
    """

    def __init__(self, size_in: int, size_out: int, blocks: int) -> None:
        super().__init__()
        _check_blocks(blocks, size_in, size_out)
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(blocks, size_in // blocks, size_out // blocks))
        self.bias = nn.Parameter(torch.zeros(size_out))
        _fill_blocks(self.weight, size_in)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        return self.mapped(self.bias, self.matrices(), [x.reshape(-1, x.shape[-1])]).reshape(*x.shape[:-1], -1)

    def matrices(self) -> list[Tensor]:
        return [self.weight]

    def mapped(
        self, offset: Float[Tensor, "*B O"], matrices: Sequence[Tensor], inputs: Sequence[Tensor]
    ) -> Float[Tensor, "B O"]:
        """See `nn.late`."""
        return torch.bmm(by_block(inputs[0], self.blocks), matrices[0]).transpose(0, 1).flatten(1) + offset


class SharingBlocks(nn.Module):
    """A block-diagonal map, each of whose blocks also sees one and the same other input.

    The same as a `BlockLinear` of an input that repeats the other for every block, without repeating it. All weights
    are one matrix: the rows of a block's own input, of what all share (J), and of what else they share and `ahead`
    takes, for all moments at once.
    """

    def __init__(self, own: int, shared: int, early: int, size: int, blocks: int) -> None:
        super().__init__()
        _check_blocks(blocks, own, size)
        self.blocks, self.rows = blocks, (own // blocks, shared, early)
        self.weight = nn.Parameter(torch.empty(sum(self.rows), size))
        self.bias = nn.Parameter(torch.zeros(size))
        _fill_blocks(self.weight, own + (shared + early) * blocks)

    def ahead(self, x: Float[Tensor, "*batch early"]) -> Float[Tensor, "*batch O"]:
        """The part of the output that is owed to it."""
        return x @ self.weight.split(self.rows)[2]

    def forward(
        self, x: Float[Tensor, "B I"], shared: Float[Tensor, "B J"], ahead: Float[Tensor, "B O"]
    ) -> Float[Tensor, "B O"]:
        return self.mapped(self.bias, self.matrices(), [x, shared, ahead])

    def matrices(self) -> list[Tensor]:
        own, shared, _ = self.weight.split(self.rows)
        return [own.unflatten(-1, (self.blocks, -1)).transpose(0, 1), shared]

    def mapped(
        self, offset: Float[Tensor, "*B O"], matrices: Sequence[Tensor], inputs: Sequence[Tensor]
    ) -> Float[Tensor, "B O"]:
        """See `nn.late`."""
        x, shared, ahead = inputs
        dense = torch.addmm(ahead + offset, shared, matrices[1])
        return torch.bmm(by_block(x, self.blocks), matrices[0]).transpose(0, 1).flatten(1) + dense


def _check_blocks(blocks: int, size_in: int, size_out: int) -> None:
    if size_in % blocks or size_out % blocks:
        raise ConfigError(
            f"{blocks} blocks for sizes {size_in} and {size_out}",
            "sizes that the blocks divide",
            "set model.recurrence.blocks",
        )


def _fill_blocks(weight: Tensor, fan_in: int) -> None:
    # DreamerV3's code counts all blocks' inputs as fan-in, though each output hears one block only.
    deviation = TRUNCATION * fan_in**-0.5
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


class TorchGRU(nn.Module):
    """The plain GRU of torch: gates in the order reset, update, candidate; update is what stays. Cho et al. (2014)."""

    def __init__(self, size_in: int, size: int, init: Scheme = "torch") -> None:
        super().__init__()
        self.input, self.state = nn.Linear(size_in, 3 * size), nn.Linear(size, 3 * size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(size**-0.5), size**-0.5)
        if init == "xavier":
            _fill(self.input.weight, self.state.weight)
            nn.init.zeros_(self.input.bias)
            nn.init.zeros_(self.state.bias)

    def forward(self, x: Float[Tensor, "B I"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        reset, update, candidate = self.input(x).to(state.dtype).chunk(3, -1)
        own_reset, own_update, own_candidate = self.state(state).to(state.dtype).chunk(3, -1)
        candidate = torch.tanh(torch.addcmul(candidate, torch.sigmoid(reset + own_reset), own_candidate))
        return torch.lerp(candidate, state, torch.sigmoid(update + own_update))


class LayerNormGRU(nn.Module):
    """The plain GRU without biases, with a layer normalisation of its own for reset, update and candidate.

    pydreamer's `gru_layernorm`: candidate tanh(LN(input + reset * state's part)).
    """

    def __init__(self, size_in: int, size: int, init: Scheme = "dreamer") -> None:
        super().__init__()
        self.input, self.state = nn.Linear(size_in, 3 * size, bias=False), nn.Linear(size, 3 * size, bias=False)
        self.reset_norm, self.update_norm, self.candidate_norm = (LayerNorm(size) for _ in range(3))
        for layer in (self.input, self.state):
            init_weights(layer, init)
        if init == "xavier":
            _fill(self.input.weight, self.state.weight)

    def forward(self, x: Float[Tensor, "B I"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        reset, update, candidate = self.input(x).to(state.dtype).chunk(3, -1)
        own_reset, own_update, own_candidate = self.state(state).to(state.dtype).chunk(3, -1)
        reset = torch.sigmoid(self.reset_norm(reset + own_reset))
        candidate = torch.tanh(self.candidate_norm(torch.addcmul(candidate, reset, own_candidate)))
        return torch.lerp(state, candidate, torch.sigmoid(self.update_norm(update + own_update)))


class DV2GRU(nn.Module):
    """GRU with one normalisation over all gates, update bias -1, candidate tanh(reset * cand).

    The cell of DreamerV2 (Hafner et al., 2021, app. C), where the normalisation is by layer; it is so here, too, where
    the rest of the model has none.
    """

    def __init__(self, size_in: int, size: int, norm: NormKind = "layer", init: Scheme = "dreamer") -> None:
        super().__init__()
        self.linear = nn.Linear(size_in + size, 3 * size, bias=False)
        self.norm = make_norm("layer" if norm == "none" else norm, 3 * size)
        init_weights(self.linear, init)
        if init == "xavier":
            _fill(self.linear.weight[:, :size_in], self.linear.weight[:, size_in:])

    def forward(self, x: Float[Tensor, "B I"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return gate(self.norm(self.linear(torch.cat([x, state], -1))), state)


class Stack(nn.Module):
    """Cells one upon the other: the state is cut into equal parts, one for each, and each hears the one below."""

    def __init__(self, cells: list[nn.Module]) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)

    def forward(self, x: Float[Tensor, "B I"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        states = []
        for cell, part in zip(self.cells, state.chunk(len(self.cells), -1), strict=True):
            x = cell(x, part)
            states.append(x)
        return torch.cat(states, -1)


def gate(gates: Float[Tensor, "B gates"], state: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Next state from the pre-activations of reset, candidate and update, in this order."""
    # Under autocast the state stays in full precision, so that small changes add up over time.
    reset, candidate, update = gates.to(state.dtype).chunk(3, -1)
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    return torch.lerp(state, candidate, torch.sigmoid(update - 1))


@torch.no_grad()
def _fill(into: Tensor, recurrent: Tensor) -> None:
    """Glorot weights for the input, orthogonal ones for the state, as pydreamer fills its cells."""
    nn.init.xavier_uniform_(into)
    nn.init.orthogonal_(recurrent)


def make_cell(
    kind: str, size_in: int, size: int, *, layers: int = 1, norm: NormKind = "layer", init: Scheme = "dreamer"
) -> nn.Module:
    """A dense cell by name, or a stack of them that share the state's size."""
    if kind not in ("torch", "layernorm", "dv2"):
        raise ConfigError(f"gru={kind!r}", "torch, layernorm, dv2 or block", "choose one of them")
    if size % layers:
        do = "change model.recurrence.deter or model.recurrence.gru_layers"
        raise ConfigError(f"deter={size} in gru_layers={layers}", "layers that divide it", do)
    part = size // layers
    cells = [_cell(kind, size_in if i == 0 else part, part, norm, init) for i in range(layers)]
    return cells[0] if layers == 1 else Stack(cells)


def _cell(kind: str, size_in: int, size: int, norm: NormKind, init: Scheme) -> nn.Module:
    if kind == "torch":
        return TorchGRU(size_in, size, init)
    return LayerNormGRU(size_in, size, init) if kind == "layernorm" else DV2GRU(size_in, size, norm, init)
