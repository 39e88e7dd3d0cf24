"""Weights that a loop over time uses at every moment, and whose gradients are computed once, after all moments.

As autograd has it, each moment adds a product of few rows to a gradient as large as the weight, which is bound by
memory. All moments' rows together make one product of large matrices. Sums have another order, nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@runtime_checkable
class Product(Protocol):
    """A layer that is a sum of products: of each input with one matrix (I, O), or with one per block (G, I, O)."""

    weight: nn.Parameter
    bias: nn.Parameter

    def matrices(self) -> list[Tensor]: ...

    def mapped(self, offset: Float[Tensor, "*B O"], matrices: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """The offset and the products; `inputs` may be more than the matrices."""
        ...


Layer = Product | nn.Linear
SMALLEST = 2**19  # numbers of a weight that does not stay in a core's cache with its gradient; below, nothing is gained


@contextmanager
def late(layers: Sequence[Layer], steps: int, batch: int, *, smallest: int = SMALLEST) -> Iterator[None]:
    """Within, each layer is called once per moment, at most `steps` times, with inputs (batch, I).

    Small layers, those that do not learn, and all where a graph is traced, which arranges such things itself, are as
    ever.
    """
    some: list[Any] = []
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        some = [layer for layer in layers if layer.weight.requires_grad and layer.weight.numel() >= smallest]
    for layer in some:
        layer.forward = _Collecting(layer, steps, batch)
    try:
        yield
    finally:
        for layer in some:
            del layer.forward


class _Collecting:
    """Stands for a layer's forward: keeps the inputs, and passes gradients to them and to its offsets alone."""

    def __init__(self, layer: Any, steps: int, batch: int) -> None:
        self.layer = layer
        matrices = [layer.weight.T] if isinstance(layer, nn.Linear) else layer.matrices()
        self.matrices, self.seen = [each.detach() for each in matrices], [list[Tensor]() for _ in matrices]
        bias = matrices[0].new_zeros(matrices[0].shape[-1]) if layer.bias is None else layer.bias
        self.offsets = iter(_Offsets.apply(steps, batch, self.seen, bias, *matrices).unbind(0))

    def __call__(self, *inputs: Tensor) -> Tensor:
        offset = next(self.offsets)
        for seen, x in zip(self.seen, inputs, strict=False):
            seen.append(x.detach())
        if isinstance(self.layer, nn.Linear):
            return torch.addmm(offset, inputs[0], self.matrices[0])
        return self.layer.mapped(offset, self.matrices, inputs)


class _Offsets(torch.autograd.Function):
    """The bias (T, B, O) at every moment. Its gradient is that of the layer's outputs: the matrices' follow from it."""

    @staticmethod
    def forward(
        ctx: Any, steps: int, batch: int, seen: list[list[Tensor]], bias: Float[Tensor, " O"], *matrices: Tensor
    ) -> Float[Tensor, "T B O"]:
        device = bias.device.type
        ctx.seen, ctx.blocks = seen, [len(each) if each.dim() == 3 else 0 for each in matrices]
        ctx.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else bias.dtype
        return bias.detach().clone().expand(steps, batch, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad = grad[: len(ctx.seen[0])].flatten(0, 1)
        out, found = grad.to(ctx.dtype), []
        for seen, blocks in zip(ctx.seen, ctx.blocks, strict=True):
            rows = torch.cat(seen).to(ctx.dtype)
            if blocks:
                found.append(torch.bmm(by_block(rows, blocks).transpose(1, 2), by_block(out, blocks)).to(grad.dtype))
            else:
                found.append((rows.T @ out).to(grad.dtype))
        return None, None, None, grad.sum(0), *found


def by_block(x: Float[Tensor, "N I"], blocks: int) -> Float[Tensor, "G N _"]:
    """The same, cut into equal parts along the last axis."""
    return x.unflatten(-1, (blocks, -1)).transpose(0, 1)
