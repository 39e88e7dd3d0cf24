"""LaProp, and clipping by the size of what is clipped: how DreamerV3 moves its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from worldmodels.core.errors import ConfigError

# All tensors of a list by one call.
foreach_add_ = torch._foreach_add_  # pyright: ignore[reportPrivateImportUsage]
foreach_addcdiv_ = torch._foreach_addcdiv_  # pyright: ignore[reportPrivateImportUsage]
foreach_addcmul_ = torch._foreach_addcmul_  # pyright: ignore[reportPrivateImportUsage]
foreach_mul_ = torch._foreach_mul_  # pyright: ignore[reportPrivateImportUsage]
foreach_norm = torch._foreach_norm  # pyright: ignore[reportPrivateImportUsage]
foreach_sqrt = torch._foreach_sqrt  # pyright: ignore[reportPrivateImportUsage]


class LaProp(torch.optim.Optimizer):
    """RMSProp, and then momentum over what it gives, both without bias; Adam averages before it divides.

    v = b2 v + (1 - b2) g^2, u = g / (sqrt(v / (1 - b2^t)) + eps), m = b1 m + (1 - b1) u, w -= lr m / (1 - b1^t), and
    weight_decay as in AdamW. Ziyin et al. (2020), with the rate outside of the momentum as in DreamerV3's code, so that
    a rate that warms up does not linger. Averages are in float32 for weights of any kind.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 4e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        weight_decay: float = 0.0,
    ) -> None:
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ConfigError(f"betas={betas}", "two numbers of at least 0 and below 1", "use 0.9 and 0.999")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._move(group, [p for p in group["params"] if p.grad is not None])
        return loss

    def _move(self, group: dict[str, Any], params: list[Tensor]) -> None:
        together: dict[int, list[Tensor]] = {}
        for param in params:
            state = self.state[param]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                for name in ("square", "momentum"):
                    state[name] = torch.zeros_like(param, dtype=torch.float32, memory_format=torch.preserve_format)
            state["step"] += 1
            # A weight that had no gradient for a while counts its own updates.
            together.setdefault(int(state["step"]), []).append(param)
        for count, some in together.items():
            self._together(group, some, count)

    def _together(self, group: dict[str, Any], params: list[Tensor], count: int) -> None:
        beta1, beta2 = group["betas"]
        grads = [p.grad.float() for p in params if p.grad is not None]
        squares, momenta = ([self.state[p][name] for p in params] for name in ("square", "momentum"))
        foreach_mul_(squares, beta2)
        foreach_addcmul_(squares, grads, grads, 1 - beta2)
        # g / (sqrt(v / c) + eps) is sqrt(c) g / (sqrt(v) + sqrt(c) eps): one pass over memory less.
        root = (1 - beta2**count) ** 0.5
        scale = foreach_sqrt(squares)
        foreach_add_(scale, root * group["eps"])
        foreach_mul_(momenta, beta1)
        foreach_addcdiv_(momenta, grads, scale, (1 - beta1) * root)
        if group["weight_decay"]:
            foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        foreach_add_(params, momenta, alpha=-group["lr"] / (1 - beta1**count))


@torch.no_grad()
def clip_adaptive_(params: Iterable[Tensor], agc: float, floor: float = 1e-3) -> None:
    """Scale each gradient down, in place, whose norm is above `agc` times that of its tensor, or times `floor`.

    Brock et al. (2021) by whole tensors, as DreamerV3 has it, with agc=0.3.
    """
    with_grad = [p for p in params if p.grad is not None]
    if not with_grad:
        return
    grads = [p.grad for p in with_grad if p.grad is not None]
    norms, sizes = foreach_norm(grads), foreach_norm(with_grad)
    allowed = agc * torch.stack(sizes).clamp(min=floor)
    scale = 1 / (torch.stack(norms) / allowed).clamp(min=1)
    foreach_mul_(grads, list(scale.unbind()))
