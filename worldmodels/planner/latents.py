"""Latents of all nodes of B trees in preallocated tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor

from worldmodels.core.errors import SpecError
from worldmodels.planner.simulator import Latent


class Bank:
    """A tree of tensors (B, ...) for each of `size` nodes; node 0 of each row is what it was made with."""

    def __init__(self, root: Latent, size: int) -> None:
        self._like, leaves = root, list(_leaves(root))
        if not leaves:
            raise SpecError("latents without any tensor", "at least one tensor (B, ...)", "give the latent a tensor")
        self._width, self.device = len(leaves[0]), leaves[0].device
        # Nodes before batch, so that a new node is one contiguous block.
        self._nodes = [leaf.new_empty(size, *leaf.shape) for leaf in leaves]
        self.flat = [part.flatten(0, 1) for part in self._nodes]  # (size * B, ...)
        self._kinds = [(leaf.shape, leaf.dtype) for leaf in leaves]
        self.write(0, root)

    def read(self, node: Int64[Tensor, " B"]) -> Latent:
        """Copies of the latents (B, ...) of one node of each tree."""
        return self.gather(node.to(self.device) * self._width + torch.arange(self._width, device=self.device))

    def gather(self, place: Int64[Tensor, " M"]) -> Latent:
        """Copies of the latents (M, ...) at places node * B + tree."""
        return self.rebuilt([flat.index_select(0, place) for flat in self.flat])

    def write(self, node: int, latent: Latent) -> None:
        """Keeps the latents (B, ...) of the same node of all rows."""
        for kept, leaf in zip(self._nodes, self.leaves(latent), strict=True):
            kept[node].copy_(leaf)

    def leaves(self, latent: Latent) -> list[Tensor]:
        """Its tensors (B, ...) in order. SpecError unless they are like those of the root."""
        leaves = [latent] if isinstance(latent, Tensor) else list(_leaves(latent))
        for (shape, dtype), leaf in zip(self._kinds, leaves, strict=True):
            if leaf.shape != shape or leaf.dtype is not dtype:
                raise SpecError(
                    f"a latent of shape {tuple(leaf.shape)}, {leaf.dtype}",
                    f"{tuple(shape)}, {dtype}, as at the root",
                    "let root and recurrent of the simulator give latents of the same shapes and dtypes",
                )
        return leaves

    def rebuilt(self, leaves: list[Tensor]) -> Latent:
        """A latent of these tensors."""
        return leaves[0] if isinstance(self._like, Tensor) else _rebuilt(self._like, iter(leaves))


def _leaves(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    else:
        for part in _parts(tree):
            yield from _leaves(part)


def _parts(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return list(cast(Mapping[Any, Any], tree).values())
    if isinstance(tree, list | tuple):
        return list(cast("list[Any]", tree))
    if is_dataclass(tree) and not isinstance(tree, type):
        return [getattr(tree, field.name) for field in fields(tree)]
    raise SpecError(
        f"a latent with a {type(tree).__name__}",
        "tensors, dataclasses of tensors, or lists, tuples and dicts of them",
        "put what is no tensor elsewhere than in the latent",
    )


def _rebuilt(like: Any, leaves: Iterator[Tensor]) -> Any:
    """The same tree with other tensors."""
    if isinstance(like, Tensor):
        return next(leaves)
    parts = [_rebuilt(part, leaves) for part in _parts(like)]
    if isinstance(like, Mapping):
        return dict(zip(cast(Mapping[Any, Any], like), parts, strict=True))
    if is_dataclass(like):
        return replace(cast(Any, like), **{field.name: part for field, part in zip(fields(like), parts, strict=True)})
    kind = cast(Any, type(like))
    return kind(*parts) if hasattr(like, "_fields") else kind(parts)
