"""What is to be found in a latent: numbers that describe the game, read off what the world showed or told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from worldmodels.analysis.linear import FLAT
from worldmodels.analysis.moments import Moments
from worldmodels.core.errors import ConfigError
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.env.minigrid_truth import OBJECTS
from worldmodels.env.planes import MEANING, MEANINGS, MOST

MOST_ENTRIES = 64  # of a vector or an extra that are variables each
POOLED = 16  # pixels across, to which images are brought down


@dataclass(frozen=True)
class Variables:
    """Named numbers at n moments, nan where one is not defined; `constant` names those that never change."""

    names: tuple[str, ...]
    values: Float[np.ndarray, "n V"]
    constant: tuple[str, ...] = ()

    def at(self, name: str) -> int:
        if name not in self.names:
            raise ConfigError(f"no variable {name!r}", f"one of {', '.join(self.names)}", "correct analysis.scatter")
        return self.names.index(name)


def variables(moments: Moments) -> Variables:
    """Of planes and symbols x and y (column and row of the mean cell) and count of each; entries of vectors and extras.

    Where nothing of a plane is there, x and y are not defined. reward and a world's extras are not defined at first
    moments, a policy's not at last ones.
    """
    found = dict(_all(moments))
    values = np.stack([np.asarray(value, np.float64) for value in found.values()], 1) if found else np.zeros((0, 0))
    varies = np.array([_varies(column) for column in values.T], bool)
    names = np.array(list(found))
    if not varies.any():
        raise ConfigError(
            f"{moments.spec.name} shows nothing that could be a variable",
            "planes, symbols, vectors or extras that change",
            "take a world whose extras tell what is going on, such as env=minigrid env.privileged=true",
        )
    return Variables(tuple(names[varies].tolist()), values[:, varies], tuple(names[~varies].tolist()))


def frame(moments: Moments) -> Float[np.ndarray, "n p"]:
    """The observation itself as features: what straight lines read without a model; images at 16 pixels across."""
    parts: list[np.ndarray] = []
    for name, seen in moments.obs.items():
        array = moments.spec.obs[name]
        if array.kind == "image":
            parts.append(_pool(seen))
        elif array.kind == "symbols":
            parts.extend(_one_hot(seen, array))
        else:
            parts.append(seen)
    return np.concatenate([part.reshape(len(part), -1).astype(np.float32) for part in parts], 1)


def plane_names(spec: EnvSpec, name: str) -> list[str]:
    """What the planes of an observation, or the classes of its first symbols, are called."""
    array = spec.obs[name]
    count = array.classes[0] - 1 if array.kind == "symbols" else array.shape[-1]
    own = list(MEANING.get(spec.name.removeprefix("minatar/"), {}))
    if name == "grid" and own and count in (len(own), MOST):
        return own + [f"empty_{n}" for n in range(len(own), count)]
    if name == "grid" and count == len(MEANINGS):
        return list(MEANINGS)
    if spec.name.startswith("minigrid/") and array.classes[:1] == (len(OBJECTS),):
        return list(OBJECTS[1:])
    return [f"{n}" for n in range(1 if array.kind == "symbols" else 0, count + (array.kind == "symbols"))]


def _all(moments: Moments) -> Iterator[tuple[str, np.ndarray]]:
    spec, many = moments.spec, len(moments.spec.obs) > 1
    for name, array in spec.obs.items():
        prefix = f"{name}." if many else ""
        if array.kind in ("planes", "symbols"):
            planes = moments.obs[name] if array.kind == "planes" else _one_hot(moments.obs[name], array)[0]
            for at, plane in enumerate(plane_names(spec, name)):
                yield from _places(f"{prefix}{plane}", planes[..., at].astype(bool))
        elif array.kind == "vector":
            yield from _entries(name, array, moments.obs[name])
    yield "reward", np.where(moments.first, np.nan, moments.reward)
    for name, told in moments.extras.items():
        unknown = moments.first if name in spec.extras else moments.last
        if np.issubdtype(told.dtype, np.number) or told.dtype == bool:
            array = ArraySpec(told.shape[1:], told.dtype.name)
            for entry, value in _entries(name, array, told.astype(np.float64)):
                yield entry, np.where(unknown, np.nan, value)


def _entries(name: str, array: ArraySpec, told: Shaped[np.ndarray, "n ..."]) -> Iterator[tuple[str, np.ndarray]]:
    flat = told.reshape(len(told), -1)
    if flat.shape[1] <= MOST_ENTRIES:
        for at in range(flat.shape[1]):
            yield (f"{name}.{at}" if array.shape else name), flat[:, at]


def _places(name: str, plane: Bool[np.ndarray, "n h w"]) -> Iterator[tuple[str, np.ndarray]]:
    count = plane.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        yield f"{name}_x", (plane.sum(1) @ np.arange(plane.shape[2])) / count
        yield f"{name}_y", (plane.sum(2) @ np.arange(plane.shape[1])) / count
    yield f"{name}_count", count


def _one_hot(seen: Shaped[np.ndarray, "n h w c"], array: ArraySpec) -> list[Bool[np.ndarray, "n h w k"]]:
    """Each channel of symbols as planes, without that of class 0, which is nothing."""
    return [seen[..., c, None] == np.arange(1, count) for c, count in enumerate(array.classes)]


def _pool(seen: Shaped[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n _h _w c"]:
    """Means over equal blocks, so that at most 16 are left across; a rest at the edge is left out."""
    block = max(1, -(-max(seen.shape[1:3]) // POOLED))
    high, wide = seen.shape[1] // block, seen.shape[2] // block
    cut = seen[:, : high * block, : wide * block]
    return cut.reshape(len(seen), high, block, wide, block, -1).mean((2, 4), dtype=np.float32) / 255


def _varies(column: Float[np.ndarray, " n"]) -> bool:
    known = column[~np.isnan(column)]
    return bool(len(known) > 1 and known.std() > FLAT)
