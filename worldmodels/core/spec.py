"""What a learner may know of a world before it has seen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from worldmodels.core.errors import SpecError

Kind = Literal["image", "planes", "symbols", "vector"]
ENV_ID = "env_id"  # the extra, and view, by which a mixture says which of its worlds it is


@dataclass(frozen=True)
class ArraySpec:
    """One array of an observation or an extra, without batch and time.

    kind says what the numbers are: `image` (h, w, C) uint8 colours or greys; `planes` (h, w, C) bool, several of
    which may be set in one cell; `symbols` (h, w, C) integers, channel c has `classes[c]` values; `vector` any float
    or integer array.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: Kind = "vector"
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "dtype", np.dtype(self.dtype).name)
        object.__setattr__(self, "classes", tuple(int(n) for n in self.classes))
        if self.kind not in get_args(Kind):
            raise SpecError(f"kind={self.kind!r}", f"one of {', '.join(get_args(Kind))}", "name the kind of array")
        if self.kind != "vector" and len(self.shape) != 3:
            raise SpecError(
                f"an array of kind {self.kind!r} with shape {self.shape}",
                "three axes: (height, width, channels)",
                "add the missing axis, or declare the kind 'vector'",
            )
        if self.kind == "symbols" and len(self.classes) != self.shape[-1]:
            raise SpecError(
                f"{len(self.classes)} class counts for {self.shape[-1]} channels of symbols",
                "one count per channel",
                "give classes=(n_0, ..., n_C-1)",
            )

    @property
    def size(self) -> int:
        """Numbers in one array."""
        return int(np.prod(self.shape, dtype=np.int64))

    def zeros(self, *leading: int) -> np.ndarray:
        return np.zeros((*leading, *self.shape), self.dtype)

    @staticmethod
    def from_json(tree: Mapping[str, Any]) -> ArraySpec:
        """From `dataclasses.asdict`, also after JSON made lists of its tuples."""
        return ArraySpec(tuple(tree["shape"]), tree["dtype"], tree["kind"], tuple(tree["classes"]))


@dataclass(frozen=True)
class EnvSpec:
    """All that a learner may know of a world.

    Discrete actions are integers in [0, action_size); continuous ones are float32 vectors of `action_size` numbers in
    [-1, 1], which the world stretches to its own range. `extras` declares what the world tells at each step beyond
    observation and reward, such as a level seed. `views` are shown to policies beside the observations, and are neither
    stored nor learned from: what an agent of another kind needs to see in order to act. Of a mixture, `worlds` names
    the parts, in the order of the extra (and view) `env_id`.
    """

    name: str
    obs: Mapping[str, ArraySpec]
    action_size: int
    discrete: bool = True
    extras: Mapping[str, ArraySpec] = field(default_factory=dict)
    action_names: tuple[str, ...] = ()
    views: Mapping[str, ArraySpec] = field(default_factory=dict)
    worlds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "action_names", tuple(self.action_names))
        object.__setattr__(self, "worlds", tuple(self.worlds))
        if not self.obs:
            raise SpecError(f"{self.name} observes nothing", "at least one observation", "declare an ArraySpec")
        if self.action_size < 1:
            raise SpecError(f"{self.name} has action_size={self.action_size}", "at least 1", "declare the actions")
        if self.action_names and len(self.action_names) != self.action_size:
            raise SpecError(
                f"{len(self.action_names)} action names for {self.action_size} actions",
                "one name per action",
                "name all actions or none",
            )
        if twice := sorted(set(self.views) & set(self.obs)):
            found = f"{self.name} shows {', '.join(twice)} as an observation and as a view"
            raise SpecError(found, "different names", "leave out the view, or rename it")

    @property
    def shown(self) -> dict[str, ArraySpec]:
        """All that a policy is shown: observations and views."""
        return {**self.obs, **self.views}

    @property
    def action(self) -> ArraySpec:
        """One action as kept in the store: an int64 scalar or a float32 vector."""
        return ArraySpec((), "int64") if self.discrete else ArraySpec((self.action_size,), "float32")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(tree: Mapping[str, Any]) -> EnvSpec:
        arrays = {
            key: {name: ArraySpec.from_json(one) for name, one in tree.get(key, {}).items()}
            for key in ("obs", "extras", "views")
        }
        names = {key: tuple(tree.get(key, ())) for key in ("action_names", "worlds")}
        fields: dict[str, Any] = {**tree, **arrays, **names}
        return EnvSpec(**fields)

    def differences(self, other: EnvSpec) -> list[str]:
        """What an agent of this spec would trip over in `other`; names of the worlds do not matter."""
        found = []
        for name in sorted({*self.obs, *other.obs}):
            mine, its = self.obs.get(name), other.obs.get(name)
            if mine != its:
                found.append(f"obs[{name!r}]: {describe(mine)} here, {describe(its)} there")
        if (self.action_size, self.discrete) != (other.action_size, other.discrete):
            found.append(f"actions: {describe_action(self)} here, {describe_action(other)} there")
        elif self.action_names and other.action_names and self.action_names != other.action_names:
            found.append(f"actions: {', '.join(self.action_names)} here, {', '.join(other.action_names)} there")
        return found


def describe(spec: ArraySpec | None) -> str:
    """For example `image uint8 (64, 64, 3)`."""
    if spec is None:
        return "absent"
    classes = f" of {spec.classes} classes" if spec.classes else ""
    return f"{spec.kind} {spec.dtype} {spec.shape}{classes}"


def describe_action(spec: EnvSpec) -> str:
    """For example `4 choices` or `1 number in [-1, 1]`."""
    what = f"{spec.action_size} {'choice' if spec.discrete else 'number'}{'s' if spec.action_size > 1 else ''}"
    return what if spec.discrete else f"{what} in [-1, 1]"
