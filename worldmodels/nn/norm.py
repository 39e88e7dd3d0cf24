"""Norms over one axis, computed in float32 whatever comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from worldmodels.core.errors import ConfigError

NormKind = Literal["rms", "layer", "none"]

_SHORT, _MANY = 16, 2**14  # numbers


class RMSNorm(nn.Module):
    """Divides by the root mean square over one axis, then scales; computed in float32."""

    def __init__(self, size: int, axis: int = -1, eps: float = 1e-4) -> None:
        super().__init__()
        self.axis, self.eps = axis, eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        return _over_rows(self._rows, x, self.axis)

    def _rows(self, x: Float32[Tensor, "*N C"]) -> Float32[Tensor, "*N C"]:
        if x.device.type == "cpu" and torch.is_grad_enabled():
            return _RowsOnCPU.apply(x, self.weight, self.eps)
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


class _RowsOnCPU(torch.autograd.Function):
    """rms_norm over the last axis, whose backward pass is layer_norm's one kernel and a correction.

    On the CPU torch takes rms_norm apart into a dozen passes over memory; this takes half to a quarter of the time.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Float32[Tensor, "*N C"], weight: Float32[Tensor, " C"], eps: float
    ) -> Float32[Tensor, "*N C"]:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return torch.mul(x, scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, scale = ctx.saved_tensors
        grad = grad.contiguous()
        to_x, to_weight, _ = torch.ops.aten.native_layer_norm_backward(
            grad, x.contiguous(), weight.shape, torch.zeros_like(scale), scale, weight, None, [True, True, False]
        )
        # layer_norm also takes the mean out of the gradient; put it back.
        mean = (grad @ weight).div_(x.shape[-1]).unsqueeze(-1)
        return to_x.addcmul_(mean, scale), to_weight, None


class LayerNorm(nn.Module):
    """Centres and divides by the deviation over one axis, then scales and shifts; computed in float32."""

    def __init__(self, size: int, axis: int = -1, eps: float = 1e-3) -> None:
        super().__init__()
        self.axis, self.eps = axis, eps
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        return _over_rows(self._rows, x, self.axis)

    def _rows(self, x: Float32[Tensor, "*N C"]) -> Float32[Tensor, "*N C"]:
        if x.device.type == "cpu" and x.shape[-1] in (2, 4) and x.numel() % _SHORT == 0 and x.numel() > _MANY:
            return _short_rows(x, self.weight, self.bias, self.eps)
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def _short_rows(
    x: Float32[Tensor, "*N C"], weight: Float32[Tensor, " C"], bias: Float32[Tensor, " C"], eps: float
) -> Float32[Tensor, "*N C"]:
    """layer_norm of many rows of 2 or 4, for which torch's own takes several times as long on the CPU.

    Several rows make one, and a product with a block-diagonal matrix takes the mean of each.
    """
    few = weight.numel()
    mean = torch.block_diag(*[torch.full((few, few), 1 / few)] * (_SHORT // few))
    rows = x.reshape(-1, _SHORT)
    centred = torch.addmm(rows, rows, mean, alpha=-1)
    unit = centred * (centred.square() @ mean + eps).rsqrt()
    return torch.addcmul(bias.repeat(_SHORT // few), unit, weight.repeat(_SHORT // few)).reshape(x.shape)


def _over_rows(norm: Callable[[Tensor], Tensor], x: Float[Tensor, "*N"], axis: int) -> Float[Tensor, "*N"]:
    """Norms of whole rows are many times faster than of any other axis, and convolutions like channels last, too."""
    if axis == -1:
        return norm(x.float()).to(x.dtype)
    return norm(x.float().movedim(axis, -1)).movedim(-1, axis).to(x.dtype)


def make_norm(kind: str, size: int, axis: int = -1) -> nn.Module:
    """A norm over `axis` (negative) by name."""
    made = {"rms": RMSNorm, "layer": LayerNorm}
    if kind == "none":
        return nn.Identity()
    if kind not in made:
        raise ConfigError(f"norm={kind!r}", "rms, layer or none", "choose one of them")
    return made[kind](size, axis)
