"""What a policy remembers, as plain data and back.

A memory is any tree of tensors, arrays, numbers, tuples, lists, dicts and dataclasses (such as a Belief). Classes are
not written down: what the policy's own `initial` returns says what the tree is made of.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from worldmodels.core.snapshot import freeze, thaw


def pack(memory: Any) -> Any:
    """The memory as plain data that `torch.load(weights_only=True)` accepts."""
    return freeze(_plain(memory))


def unpack(template: Any, state: Any) -> Any:
    """The memory that was packed, in the classes and on the devices of `template`, a memory of the same policy."""
    return _shaped(template, thaw(state))


def _plain(tree: Any) -> Any:
    if is_dataclass(tree) and not isinstance(tree, type):
        return {x.name: _plain(getattr(tree, x.name)) for x in fields(tree)}
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_plain(item) for item in tree)
    return tree.detach() if isinstance(tree, Tensor) else tree


def _shaped(template: Any, tree: Any) -> Any:
    if is_dataclass(template) and not isinstance(template, type):
        return replace(template, **{x.name: _shaped(getattr(template, x.name), tree[x.name]) for x in fields(template)})
    if isinstance(template, dict) and isinstance(tree, dict):
        return {key: _shaped(template.get(key), value) for key, value in tree.items()}
    if isinstance(template, tuple | list) and isinstance(tree, tuple | list) and len(template) == len(tree):
        return type(tree)(_shaped(a, b) for a, b in zip(template, tree, strict=True))
    if isinstance(template, Tensor) and isinstance(tree, Tensor):
        return tree.to(template.device)
    return tree
