from __future__ import annotations

import pytest
import torch

from worldmodels.core.errors import ConfigError
from worldmodels.nn.recurrent import BlockGRU, BlockLinear, NormGRU, make_cell


def test_a_block_linear_is_a_dense_layer_with_a_block_diagonal_matrix():
    torch.manual_seed(0)
    layer, x = BlockLinear(6, 9, 3), torch.randn(4, 6)
    dense = torch.block_diag(*layer.weight)
    torch.testing.assert_close(layer(x), x @ dense + layer.bias)


def test_blocks_see_the_whole_input_and_hear_of_each_other_through_the_digest_alone():
    torch.manual_seed(0)
    cell = BlockGRU(5, 8, blocks=4)
    x, state = torch.randn(1, 5), torch.randn(1, 8)
    # The norm in the middle couples the blocks weakly, as in the original; without it only the digest does.
    cell.norm = torch.nn.Identity()
    own = torch.block_diag(*[torch.ones(2, 2)] * 4).bool()
    jacobian = torch.autograd.functional.jacobian
    assert (jacobian(lambda s: cell(x, s)[0], state)[:, 0] != 0).all()
    assert (jacobian(lambda i: cell(i, state)[0], x)[:, 0] != 0).all()
    torch.nn.init.zeros_(cell.digest.weight)
    alone = jacobian(lambda s: cell(x, s)[0], state)[:, 0]
    assert (alone[~own] == 0).all()
    assert (alone[own] != 0).all()


@pytest.mark.parametrize("kind", ["torch", "norm", "block"])
def test_under_autocast_the_state_stays_in_full_precision(kind):
    cell = make_cell(kind, 4, 8, blocks=2, norm="rms")
    with torch.autocast("cpu", torch.bfloat16):
        state = cell(torch.randn(3, 4).bfloat16(), torch.zeros(3, 8))
    assert state.dtype == torch.float32


def test_the_norm_gru_follows_the_formula():
    torch.manual_seed(0)
    cell = NormGRU(3, 4, "layer")
    x, state = torch.randn(2, 3), torch.randn(2, 4)
    parts = torch.cat([x, state], -1) @ cell.linear.weight.T
    parts = (parts - parts.mean(-1, keepdim=True)) / (parts.var(-1, unbiased=False, keepdim=True) + 1e-3).sqrt()
    reset, candidate, update = parts[:, :4].sigmoid(), parts[:, 4:8], (parts[:, 8:] - 1).sigmoid()
    expected = update * torch.tanh(reset * candidate) + (1 - update) * state
    torch.testing.assert_close(cell(x, state), expected)


def test_unknown_cells_and_blocks_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="torch, norm or block"):
        make_cell("lstm", 3, 4, blocks=1, norm="rms")
    with pytest.raises(ConfigError, match="blocks divide"):
        BlockGRU(3, 10, blocks=4)
