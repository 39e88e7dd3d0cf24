"""Every cell against loops over single numbers, written from the equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from worldmodels.core.errors import ConfigError
from worldmodels.nn.mlp import Manner
from worldmodels.nn.recurrent import DV2GRU, BlockLinear, LayerNormGRU, TorchGRU, make_cell
from worldmodels.nn.transition import BlockTransition, DenseTransition, make_transition

Rows = list[list[float]]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def silu(x: float) -> float:
    return x * sigmoid(x)


def elu(x: float) -> float:
    return x if x > 0 else math.exp(x) - 1


def linear(x: list[float], layer: nn.Linear) -> list[float]:
    bias = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    return [
        b + sum(w * v for w, v in zip(row, x, strict=True)) for row, b in zip(layer.weight.tolist(), bias, strict=True)
    ]


def layer_norm(x: list[float], norm: nn.Module) -> list[float]:
    mean = sum(x) / len(x)
    scale = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + 1e-3)
    return [(v - mean) / scale * w + b for v, w, b in zip(x, norm.weight.tolist(), norm.bias.tolist(), strict=True)]


def rms_norm(x: list[float], norm: nn.Module) -> list[float]:
    scale = math.sqrt(sum(v * v for v in x) / len(x) + 1e-4)
    return [v / scale * w for v, w in zip(x, norm.weight.tolist(), strict=True)]


def stirred(module: nn.Module) -> nn.Module:
    """With weights and biases that all matter."""
    rng = torch.Generator().manual_seed(7)
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=rng) * 0.7)
    return module


def states(size_in: int, size: int, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(batch, size_in, generator=rng), torch.randn(batch, size, generator=rng)


def torch_gru(cell: TorchGRU, x: list[float], h: list[float]) -> list[float]:
    """Cho et al. (2014), with the biases of torch: h' = (1 - z) n + z h."""
    i, s, d = linear(x, cell.input), linear(h, cell.state), len(h)
    out = []
    for n in range(d):
        reset, keep = sigmoid(i[n] + s[n]), sigmoid(i[d + n] + s[d + n])
        out.append((1 - keep) * math.tanh(i[2 * d + n] + reset * s[2 * d + n]) + keep * h[n])
    return out


def layernorm_gru(cell: LayerNormGRU, x: list[float], h: list[float]) -> list[float]:
    """Pydreamer's gru_layernorm: h' = u n + (1 - u) h, no biases, a norm each."""
    i, s, d = linear(x, cell.input), linear(h, cell.state), len(h)
    reset = [sigmoid(v) for v in layer_norm([i[n] + s[n] for n in range(d)], cell.reset_norm)]
    update = [sigmoid(v) for v in layer_norm([i[d + n] + s[d + n] for n in range(d)], cell.update_norm)]
    raw = [i[2 * d + n] + reset[n] * s[2 * d + n] for n in range(d)]
    candidate = [math.tanh(v) for v in layer_norm(raw, cell.candidate_norm)]
    return [u * c + (1 - u) * old for u, c, old in zip(update, candidate, h, strict=True)]


def dv2_gru(cell: DV2GRU, x: list[float], h: list[float]) -> list[float]:
    """Hafner et al. (2021): one norm over all three, update bias -1, late reset."""
    parts, d = layer_norm(linear(x + h, cell.linear), cell.norm), len(h)
    update = [sigmoid(v - 1) for v in parts[2 * d :]]
    candidate = [math.tanh(sigmoid(r) * c) for r, c in zip(parts[:d], parts[d : 2 * d], strict=True)]
    return [u * c + (1 - u) * old for u, c, old in zip(update, candidate, h, strict=True)]


@pytest.mark.parametrize(("kind", "naive"), [("torch", torch_gru), ("layernorm", layernorm_gru), ("dv2", dv2_gru)])
def test_a_cell_follows_its_equations(kind, naive):
    cell = stirred(make_cell(kind, 5, 4))
    x, state = states(5, 4)
    expected = [naive(cell, *row) for row in zip(x.tolist(), state.tolist(), strict=True)]
    torch.testing.assert_close(cell(x, state), torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_the_plain_cell_is_that_of_torch():
    torch.manual_seed(0)
    cell, peer = make_cell("torch", 5, 4), nn.GRUCell(5, 4)
    for mine, its in zip(cell.parameters(), (peer.weight_ih, peer.bias_ih, peer.weight_hh, peer.bias_hh), strict=True):
        its.data = mine.data
        assert 0.3 < float(mine.detach().abs().max()) <= 4**-0.5, "filled as torch fills it"
    x, state = states(5, 4)
    torch.testing.assert_close(cell(x, state), peer(x, state))


def test_a_stack_cuts_the_state_and_each_cell_hears_the_one_below():
    stack = make_cell("dv2", 5, 6, layers=2)
    x, state = states(5, 6)
    low = stack.cells[0](x, state[:, :3])
    torch.testing.assert_close(stack(x, state), torch.cat([low, stack.cells[1](low, state[:, 3:])], 1))
    assert stack.cells[1].linear.in_features == 3 + 3


def test_the_dense_transition_sums_latents_and_action_before_norm_and_activation():
    """pydreamer: za = ELU(LN(W_z z + b + W_a a)), h' = GRU(za, h)."""
    move = stirred(make_transition("dv2", 2, 6, 4, 5, layers=1, blocks=1, manner=Manner("layer", "elu", "xavier")))
    assert isinstance(move, DenseTransition)
    assert move.action_in.bias is None
    z, h = states(6, 4)
    a = torch.tensor([[1.0, 0], [0, 1], [0.5, -0.5]])
    expected = []
    for zs, hs, acts in zip(z.tolist(), h.tolist(), a.tolist(), strict=True):
        mixed = [p + q for p, q in zip(linear(zs, move.stoch_in), linear(acts, move.action_in), strict=True)]
        expected.append(dv2_gru(move.cell, [elu(v) for v in layer_norm(mixed, move.norm)], hs))
    torch.testing.assert_close(move(h, z, move.acted(a)), torch.tensor(expected), rtol=1e-5, atol=1e-6)


def block_linear(x: Rows, weight: list[Rows], bias: list[float]) -> Rows:
    """Block g of the input to block g of the output, with the matrices (G, I, O)."""
    size = len(weight[0][0])
    return [
        [bias[g * size + o] + sum(v * weight[g][i][o] for i, v in enumerate(part)) for o in range(size)]
        for g, part in enumerate(x)
    ]


def test_the_block_transition_follows_the_equations_block_by_block():
    """Hafner et al. (2024), "Block GRU", as its code spells it out."""
    move = stirred(make_transition("block", 2, 6, 8, 3, layers=1, blocks=4, manner=Manner()))
    assert isinstance(move, BlockTransition)
    z, h = states(6, 8)
    a = torch.tensor([[1.0, 0], [0, 1], [0.5, -0.5]])
    rows = move.hidden.weight.tolist()  # of own state, then of what all blocks share; two columns for each block
    hidden_weight = [[row[2 * g : 2 * g + 2] for row in rows] for g in range(4)]
    hidden_bias, gates_weight, gates_bias = (
        move.hidden.bias.tolist(),
        move.gates.weight.tolist(),
        move.gates.bias.tolist(),
    )
    expected = []
    for zs, hs, acts in zip(z.tolist(), h.tolist(), a.tolist(), strict=True):
        digest: list[float] = []
        for values, layer in ((hs, move.deter_in), (zs, move.stoch_in), (acts, move.action_in)):
            digest += [silu(v) for v in rms_norm(linear(values, layer[0]), layer[1])]
        own = [hs[2 * g : 2 * g + 2] for g in range(4)]
        blocks = block_linear([part + digest for part in own], hidden_weight, hidden_bias)
        hidden = [v for part in blocks for v in part]
        hidden = [silu(v) for v in rms_norm(hidden, move.norm)]
        gates = block_linear([hidden[2 * g : 2 * g + 2] for g in range(4)], gates_weight, gates_bias)
        after: list[float] = []
        for part, block in zip(own, gates, strict=True):
            for n, old in enumerate(part):
                update = sigmoid(block[4 + n] - 1)
                after.append(update * math.tanh(sigmoid(block[n]) * block[2 + n]) + (1 - update) * old)
        expected.append(after)
    torch.testing.assert_close(move(h, z, move.acted(a)), torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_a_block_linear_is_a_dense_layer_with_a_block_diagonal_matrix():
    torch.manual_seed(0)
    layer, x = BlockLinear(6, 9, 3), torch.randn(2, 4, 6)
    dense = torch.block_diag(*layer.weight)
    torch.testing.assert_close(layer(x), x @ dense + layer.bias)


@pytest.mark.parametrize("kind", ["torch", "layernorm", "dv2", "block"])
def test_under_autocast_the_state_stays_in_full_precision(kind):
    move = make_transition(kind, 2, 6, 8, 4, layers=1, blocks=2, manner=Manner())
    with torch.autocast("cpu", torch.bfloat16):
        state = move(torch.zeros(3, 8), torch.randn(3, 6), move.acted(torch.randn(3, 2)))
    assert state.dtype == torch.float32


@pytest.mark.parametrize("kind", ["torch", "layernorm", "dv2"])
def test_glorot_weights_come_with_an_orthogonal_state_matrix_and_no_bias(kind):
    torch.manual_seed(0)
    cell = make_cell(kind, 7, 4, init="xavier")
    if isinstance(cell, TorchGRU):
        assert not cell.input.bias.any()
        assert not cell.state.bias.any()
    if isinstance(cell, TorchGRU | LayerNormGRU):
        into, back = cell.input.weight, cell.state.weight
    else:
        into, back = cell.linear.weight[:, :7], cell.linear.weight[:, 7:]
    torch.testing.assert_close(back.T @ back, torch.eye(4))
    bound = math.sqrt(6 / (7 + 12))
    assert 0.9 * bound < float(into.detach().abs().max()) <= bound


def test_unknown_cells_and_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="torch, layernorm, dv2 or block"):
        make_cell("lstm", 3, 4)
    with pytest.raises(ConfigError, match="layers that divide it"):
        make_cell("dv2", 3, 4, layers=3)
    with pytest.raises(ConfigError, match="blocks divide"):
        BlockTransition(2, 3, 10, 4, blocks=4, manner=Manner())
    with pytest.raises(ConfigError, match="gru_layers=1"):
        make_transition("block", 2, 3, 8, 4, layers=2, blocks=4, manner=Manner())
    with pytest.raises(ConfigError, match=r"model\.init=dreamer"):
        BlockTransition(2, 3, 8, 4, blocks=4, manner=Manner(init="xavier"))
