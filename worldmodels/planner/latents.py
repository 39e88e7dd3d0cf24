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
        self._like, leaves = root, list(_leaves(root, root))
        if not leaves:
            raise SpecError("latents without any tensor", "at least one tensor (B, ...)", "give the latent a tensor")
        self._width, self.device = len(leaves[0]), leaves[0].device
        # Nodes before batch, so that a new node is one contiguous block.
        self._nodes = [leaf.new_empty(size, *leaf.shape) for leaf in leaves]
        self.flat = [part.flatten(0, 1) for part in self._nodes]  # (size * B, ...)
        self._kinds = [(leaf.shape, leaf.dtype, leaf.device) for leaf in leaves]
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
        """Its tensors (B, ...) in the order of the root's. SpecError unless they are like those."""
        leaves = [latent] if isinstance(latent, Tensor) else list(_leaves(latent, self._like))
        for (shape, dtype, device), leaf in zip(self._kinds, leaves, strict=True):
            if leaf.shape != shape or leaf.dtype is not dtype or leaf.device != device:
                raise SpecError(
                    f"a latent of shape {tuple(leaf.shape)}, {leaf.dtype}, on {leaf.device}",
                    f"{tuple(shape)}, {dtype}, on {device}, as at the root",
                    "let root and recurrent of the simulator give latents of the same kind",
                )
        return leaves

    def rebuilt(self, leaves: list[Tensor]) -> Latent:
        """A latent of these tensors."""
        return leaves[0] if isinstance(self._like, Tensor) else _rebuilt(self._like, iter(leaves))


def demand_rows(latent: Latent, rows: int) -> None:
    """SpecError unless all its tensors have so many rows, and lie on one device."""
    leaves = list(_leaves(latent, latent))
    for leaf in leaves:
        if leaf.dim() == 0 or len(leaf) != rows or leaf.device != leaves[0].device:
            raise SpecError(
                f"the simulator's root gave a latent of shape {tuple(leaf.shape)} on {leaf.device}",
                f"({rows}, ...) on {leaves[0].device}: a row for each root, and one device for all of it",
                "mend the function that the Simulator was made with",
            )


def _leaves(tree: Any, like: Any) -> Iterator[Tensor]:
    """The tensors of a tree, in the order in which another of the same make has them. SpecError if it is of another."""
    if isinstance(tree, Tensor) and isinstance(like, Tensor):
        yield tree
        return
    if type(tree) is not type(like) or (isinstance(tree, Mapping) and set(tree) != set(like)):
        raise _unlike(tree, like)
    parts = _parts(tree, like)
    if len(parts) != len(wanted := _parts(like, like)):
        raise _unlike(tree, like)
    for part, other in zip(parts, wanted, strict=True):
        yield from _leaves(part, other)


def _unlike(tree: Any, like: Any) -> SpecError:
    found, expected = (_make(x) for x in (tree, like))
    return SpecError(f"a latent with {found}", f"{expected}, as at the root", "give the same in root and recurrent")


def _make(tree: Any) -> str:
    kind = f"a {type(tree).__name__}"
    if isinstance(tree, Mapping):
        return f"{kind} of {', '.join(map(str, cast(Mapping[Any, Any], tree)))}"
    return f"{kind} of {len(cast('list[Any]', tree))}" if isinstance(tree, list | tuple) else kind


def _parts(tree: Any, like: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return [cast(Mapping[Any, Any], tree)[name] for name in cast(Mapping[Any, Any], like)]
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
    parts = [_rebuilt(part, leaves) for part in _parts(like, like)]
    if isinstance(like, Mapping):
        return dict(zip(cast(Mapping[Any, Any], like), parts, strict=True))
    if is_dataclass(like):
        return replace(cast(Any, like), **{field.name: part for field, part in zip(fields(like), parts, strict=True)})
    kind = cast(Any, type(like))
    return kind(*parts) if hasattr(like, "_fields") else kind(parts)
