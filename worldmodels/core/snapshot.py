"""Turn the insides of a world into plain data and back, without pickle.

A checkpoint must load with `torch.load(weights_only=True)`: tensors, numbers, strings, None, lists and dicts. Worlds
also hold numpy arrays, numpy scalars, tuples, bytes and numpy generators; those are tagged here.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import numpy as np
import torch

_TAG = "__kind__"


def freeze(value: Any) -> Any:
    """Plain data that `thaw` turns back into an equal value; TypeError for anything it can not promise that of."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, list):
        return [freeze(item) for item in value]
    if isinstance(value, dict):
        # Pairs, because keys may be of any kind and a user's key could be our tag.
        return {_TAG: "dict", "items": [[freeze(k), freeze(v)] for k, v in value.items()]}
    for kind, (cls, encode, _) in _KINDS.items():
        if isinstance(value, cls):
            return {_TAG: kind, "value": encode(value)}
    raise TypeError(f"can not freeze a {type(value).__module__}.{type(value).__qualname__}")


def thaw(tree: Any) -> Any:
    """The inverse of `freeze`."""
    if isinstance(tree, list):
        return [thaw(item) for item in tree]
    if isinstance(tree, dict):
        if tree[_TAG] == "dict":
            return {thaw(k): thaw(v) for k, v in tree["items"]}
        return _KINDS[tree[_TAG]][2](tree["value"])
    return tree.clone() if isinstance(tree, torch.Tensor) else tree


def _array(value: np.ndarray) -> dict[str, Any]:
    data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8).copy()
    return {"dtype": value.dtype.str, "shape": list(value.shape), "data": torch.from_numpy(data)}


def _to_array(tree: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(tree["data"].numpy().tobytes(), tree["dtype"]).reshape(tree["shape"]).copy()


def _generator(value: np.random.Generator) -> str:
    return json.dumps(value.bit_generator.state, default=_listed)


def _to_generator(text: str) -> np.random.Generator:
    state = json.loads(text)
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


def _random_state(value: np.random.RandomState) -> str:
    return json.dumps(value.get_state(legacy=False), default=_listed)


def _to_random_state(text: str) -> np.random.RandomState:
    state = json.loads(text)
    state["state"]["key"] = np.asarray(state["state"]["key"], np.uint32)
    made = np.random.RandomState()
    made.set_state(state)
    return made


def _listed(value: Any) -> Any:
    return value.tolist()


_KINDS: dict[str, tuple[type, Any, Any]] = {
    "tuple": (tuple, lambda v: [freeze(x) for x in v], lambda t: tuple(thaw(x) for x in t)),
    "deque": (
        deque,
        lambda v: [v.maxlen, [freeze(x) for x in v]],
        lambda t: deque((thaw(x) for x in t[1]), maxlen=t[0]),
    ),
    "set": (set, lambda v: [freeze(x) for x in sorted(v)], lambda t: {thaw(x) for x in t}),
    "bytes": (
        bytes,
        lambda v: torch.frombuffer(bytearray(v), dtype=torch.uint8) if v else torch.zeros(0, dtype=torch.uint8),
        lambda t: t.numpy().tobytes(),
    ),
    "array": (np.ndarray, _array, _to_array),
    "scalar": (np.generic, lambda v: _array(np.asarray(v)), lambda t: _to_array(t)[()]),
    "generator": (np.random.Generator, _generator, _to_generator),
    "random_state": (np.random.RandomState, _random_state, _to_random_state),
}
