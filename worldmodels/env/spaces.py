"""Gymnasium's spaces as our specs, and values of the ones as values of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space, spaces

from worldmodels.core.errors import ConfigError
from worldmodels.core.spec import ArraySpec
from worldmodels.env.area import resize

MOST_CHOICES = 1024  # a product of small choices becomes one choice up to here


@dataclass(frozen=True)
class Reader:
    """One array of an observation: where it lies in Gymnasium's value, what it is, and how to read it."""

    path: tuple[str | int, ...]
    spec: ArraySpec
    convert: Callable[[Any], np.ndarray]

    def __call__(self, value: Any) -> np.ndarray:
        for key in self.path:
            value = value[key]
        return self.convert(value)


@dataclass(frozen=True)
class Hand:
    """Our actions for a space: their number, and what Gymnasium wants to hear for one of them."""

    size: int
    discrete: bool
    turn: Callable[[Any], Any]


def readers(space: Space[Any], kind: str = "auto", size: int | None = None) -> dict[str, Reader]:
    """The arrays of an observation space by name. A lone array is called by its kind, one of a Dict by its keys.

    kind: "auto" takes uint8 pictures for images and boolean (h, w, C) for planes and makes vectors of all else;
    "image", "symbols" and "vector" insist. size: images are resized to (size, size).
    """
    leaves = list(_leaves(space))
    if len(leaves) > 1 and kind not in ("auto", "vector"):
        raise ConfigError(
            f"observation={kind!r} for {len(leaves)} arrays", "one array, or 'auto'", "set env.observation=auto"
        )
    made = [Reader(path, *_convert(leaf, kind, size)) for path, leaf in leaves]
    if len(made) == 1:
        return {made[0].spec.kind: made[0]}
    return {"_".join(str(key) for key in reader.path): reader for reader in made}


def _leaves(space: Space[Any], path: tuple[str | int, ...] = ()) -> Any:
    if isinstance(space, spaces.Dict):
        parts = list(space.spaces.items())
    elif isinstance(space, spaces.Tuple):
        parts = list(enumerate(space.spaces))
    else:
        yield path, space
        return
    for key, part in parts:
        yield from _leaves(part, (*path, key))


def _convert(space: Space[Any], kind: str, size: int | None) -> tuple[ArraySpec, Callable[[Any], np.ndarray]]:
    if kind == "symbols":
        return _symbols(space)
    if kind == "image" or (kind == "auto" and _is_picture(space)):
        return _image(space, size)
    if kind == "auto" and isinstance(space, spaces.MultiBinary) and len(space.shape) == 3:
        return ArraySpec(space.shape, "bool", "planes"), lambda value: np.asarray(value, bool)
    return _vector(space)


def _is_picture(space: Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


def _image(space: Space[Any], size: int | None) -> tuple[ArraySpec, Callable[[Any], np.ndarray]]:
    if not _is_picture(space) or space.shape is None:
        raise ConfigError(f"an image from {space}", "a Box of uint8, (h, w) or (h, w, C)", "set env.observation=vector")
    shape = space.shape
    first = len(shape) == 3 and shape[0] < min(shape[1:])  # channels first, as PyTorch has it

    def convert(value: Any) -> np.ndarray:
        frame = np.asarray(value, np.uint8)
        frame = frame[..., None] if frame.ndim == 2 else frame.transpose(1, 2, 0) if first else frame
        return frame if size is None else resize(frame, size, size)

    return ArraySpec(convert(np.zeros(shape, np.uint8)).shape, "uint8", "image"), convert


def _symbols(space: Space[Any]) -> tuple[ArraySpec, Callable[[Any], np.ndarray]]:
    if isinstance(space, spaces.MultiDiscrete):
        high, low = np.asarray(space.nvec) - 1 + space.start, np.asarray(space.start)
    elif isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer):
        high, low = space.high, space.low
    else:
        raise ConfigError(f"symbols from {space}", "a Box of integers, or MultiDiscrete", "set env.observation=vector")
    if high.ndim not in (2, 3) or low.min() < 0:
        raise ConfigError(f"symbols from {space}", "(h, w) or (h, w, C) of integers from 0", "wrap the env")
    cells = high.reshape(*high.shape[:2], -1)
    classes = tuple(int(n) + 1 for n in cells.max((0, 1)))
    dtype = "uint8" if max(classes) <= 256 else "int64"
    return ArraySpec(cells.shape, dtype, "symbols", classes), lambda v: np.asarray(v).reshape(cells.shape).astype(dtype)


def _vector(space: Space[Any]) -> tuple[ArraySpec, Callable[[Any], np.ndarray]]:
    """float32; a choice of n becomes n numbers, one of which is 1."""
    if isinstance(space, spaces.Discrete):
        return _one_hot(np.array([space.n]), np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hot(space.nvec.ravel(), space.start.ravel())
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        spec = ArraySpec((int(np.prod(space.shape)),), "float32")
        return spec, lambda value: np.asarray(value, np.float32).reshape(spec.shape)
    raise ConfigError(
        f"an observation of {space}",
        "Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of these",
        "wrap the env with gymnasium.wrappers.TransformObservation",
    )


def _one_hot(counts: np.ndarray, start: np.ndarray) -> tuple[ArraySpec, Callable[[Any], np.ndarray]]:
    spec = ArraySpec((int(counts.sum()),), "float32")
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]) - start

    def convert(value: Any) -> np.ndarray:
        vector = spec.zeros()
        vector[np.asarray(value).ravel() + offsets] = 1.0
        return vector

    return spec, convert


def hand(space: Space[Any]) -> Hand:
    """Our actions for an action space.

    Discrete stays; MultiDiscrete and MultiBinary become one choice among all combinations, the last part changing
    fastest; a bounded Box becomes numbers in [-1, 1]. ConfigError for anything else.
    """
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return Hand(int(space.n), True, lambda action: int(action) + start)
    if isinstance(space, spaces.MultiDiscrete):
        return _combined(space, space.nvec, space.start)
    if isinstance(space, spaces.MultiBinary):
        return _combined(space, np.full(space.shape, 2), np.zeros(space.shape, np.int64))
    if isinstance(space, spaces.Box):
        return _stretched(space)
    raise ConfigError(
        f"actions of {space}",
        "Discrete, MultiDiscrete, MultiBinary or a bounded Box",
        "wrap the env with gymnasium.wrappers.TransformAction",
    )


def _combined(space: Space[Any], counts: np.ndarray, start: np.ndarray) -> Hand:
    size = int(np.prod(counts))
    if size > MOST_CHOICES:
        raise ConfigError(f"{size} combinations in {space}", f"at most {MOST_CHOICES}", "wrap the env to choose fewer")
    parts = counts.ravel().tolist()

    def turn(action: Any) -> np.ndarray:
        return np.reshape(np.unravel_index(int(action), parts), counts.shape).astype(space.dtype) + start

    return Hand(size, True, turn)


def _stretched(space: spaces.Box) -> Hand:
    if not np.issubdtype(space.dtype, np.floating):
        raise ConfigError(f"actions of {space}", "a Box of floats", "declare MultiDiscrete in the env")
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ConfigError(
            f"unbounded actions: {space}",
            "a finite low and high, which [-1, 1] is stretched to",
            "give the env's action_space bounds, or wrap it with gymnasium.wrappers.RescaleAction",
        )

    def turn(action: Any) -> np.ndarray:
        part = (np.reshape(action, space.shape).astype(np.float64) + 1.0) / 2.0
        return np.clip(low + part * (high - low), low, high).astype(space.dtype)

    return Hand(int(np.prod(space.shape)), False, turn)


def arrays(parts: Mapping[str, Reader], value: Any) -> dict[str, np.ndarray]:
    """An observation of Gymnasium as ours."""
    return {name: reader(value) for name, reader in parts.items()}
