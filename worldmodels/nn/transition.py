"""How the deterministic state of a moment follows from the one before: latents and action are mixed, and a cell moves.

`acted` takes what needs only the action, so that it can be done for all moments at once; `forward` does the rest, with
the layers `looped`, of which `nn.late` may take care.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError
from worldmodels.nn.late import Layer
from worldmodels.nn.mlp import MLP, Manner, make_activation
from worldmodels.nn.norm import make_norm
from worldmodels.nn.recurrent import BlockLinear, CellKind, SharingBlocks, gate, make_cell


class DenseTransition(nn.Module):
    """The projections of latents and action are summed, normed and activated; a dense cell takes them.

    pydreamer's form, za = act(norm(W_z z + b + W_a a)). The projections come unfilled, see `Recurrence`.
    """

    def __init__(
        self, actions: int, latent: int, deter: int, hidden: int, *, gru: str, layers: int, manner: Manner
    ) -> None:
        super().__init__()
        self.stoch_in = nn.Linear(latent, hidden)
        self.action_in = nn.Linear(actions, hidden, bias=False)
        self.norm, self.activation = make_norm(manner.norm, hidden), make_activation(manner.activation)
        self.cell = make_cell(gru, hidden, deter, layers=layers, norm=manner.norm, init=manner.init)

    def acted(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch hidden"]:
        return self.action_in(action)

    def forward(
        self, deter: Float[Tensor, "B D"], stoch: Float[Tensor, "B SK"], acted: Float[Tensor, "B hidden"]
    ) -> Float[Tensor, "B D"]:
        return self.cell(self.activation(self.norm(self.stoch_in(stoch) + acted)), deter)

    @property
    def looped(self) -> list[Layer]:
        return [self.stoch_in, *(layer for layer in self.cell.modules() if isinstance(layer, nn.Linear))]


class BlockTransition(nn.Module):
    """State, latents and action each go through a layer of their own; every block sees all three and its own state.

    Then two block-diagonal layers, the second of which gives the gates. Through the state's layer the blocks hear of
    each other. Hafner et al. (2024), "Block GRU".
    """

    def __init__(self, actions: int, latent: int, deter: int, hidden: int, *, blocks: int, manner: Manner) -> None:
        super().__init__()
        if manner.init != "dreamer":
            raise ConfigError(
                f"gru=block with init={manner.init}",
                "init=dreamer, the only one of its layers",
                "set model.init=dreamer",
            )
        self.blocks = blocks
        self.deter_in, self.stoch_in, self.action_in = (
            MLP(size, hidden, 1, **vars(manner)) for size in (deter, latent, actions)
        )
        self.hidden = SharingBlocks(deter, 2 * hidden, hidden, deter, blocks)
        self.norm, self.activation = make_norm(manner.norm, deter), make_activation(manner.activation)
        self.gates = BlockLinear(deter, 3 * deter, blocks)

    def acted(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch D"]:
        return self.hidden.ahead(self.action_in(action))

    def forward(
        self, deter: Float[Tensor, "B D"], stoch: Float[Tensor, "B SK"], acted: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        seen = torch.cat([self.deter_in(deter), self.stoch_in(stoch)], -1)
        mixed = self.activation(self.norm(self.hidden(deter, seen, acted)))
        # The blocks' outputs hold their own three gates side by side; bring each gate together.
        gates = self.gates(mixed).unflatten(-1, (self.blocks, 3, -1)).transpose(1, 2).flatten(1)
        return gate(gates, deter)

    @property
    def looped(self) -> list[Layer]:
        layers: list[Any] = [self.deter_in[0], self.stoch_in[0], self.hidden, self.gates]
        return layers


Transition = DenseTransition | BlockTransition


def make_transition(
    gru: CellKind, actions: int, latent: int, deter: int, hidden: int, *, layers: int, blocks: int, manner: Manner
) -> Transition:
    """By the kind of its cell."""
    if gru != "block":
        return DenseTransition(actions, latent, deter, hidden, gru=gru, layers=layers, manner=manner)
    if layers != 1:
        do = "set model.recurrence.gru_layers=1, or stack another kind of cell: model.recurrence.gru=dv2"
        raise ConfigError(f"gru_layers={layers} with gru=block", "gru_layers=1", do)
    return BlockTransition(actions, latent, deter, hidden, blocks=blocks, manner=manner)
