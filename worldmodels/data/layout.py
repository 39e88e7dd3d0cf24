"""What a store keeps, as named arrays, and whether a piece of an episode has exactly those."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from worldmodels.core.errors import ConfigError, SpecError, StoreError
from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec, describe

FORMAT = 1
Shape = tuple[tuple[int, ...], np.dtype]


@dataclass(frozen=True)
class Layout:
    """The head of a store: `store.json`. `extras` are what the world tells and what the policy adds."""

    spec: EnvSpec
    extras: Mapping[str, ArraySpec] = field(default_factory=dict)
    packed: tuple[str, ...] = ()  # observations that are compressed

    def __post_init__(self) -> None:
        for name, spec in self.columns.items():
            if not re.fullmatch(r"[\w.-]+", name) or not spec.size:
                raise SpecError(f"{name!r} of shape {spec.shape}", "a plain name and at least one number", "rename it")
        if unknown := set(self.packed) - set(self.spec.obs):
            raise ConfigError(f"compress={sorted(unknown)}", f"some of {', '.join(self.spec.obs)}", "name observations")

    @cached_property
    def columns(self) -> dict[str, ArraySpec]:
        """Every array that is kept, by the name of its file."""
        flag = ArraySpec((), "bool")
        return {
            **{f"obs.{name}": spec for name, spec in self.spec.obs.items()},
            "action": self.spec.action,
            "reward": ArraySpec((), "float32"),
            "terminated": flag,
            "truncated": flag,
            **{f"extras.{name}": spec for name, spec in self.extras.items()},
        }

    def arrays(self, piece: Episode) -> dict[str, list[np.ndarray]]:
        """What to write for a piece of T steps: T + 1 rows per array, zeros after the last step."""
        if not len(piece):
            raise SpecError(f"a piece of episode {piece.number} without steps", "at least one", "leave it out")
        given = {
            **{f"obs.{name}": array for name, array in piece.obs.items()},
            "action": piece.action,
            "reward": piece.reward,
            **{f"extras.{name}": array for name, array in piece.extras.items()},
        }
        flags = {"terminated": piece.terminated, "truncated": piece.truncated}
        for name, flag in flags.items():
            given[name] = np.zeros(len(piece), bool)
            given[name][-1] = flag
        if given.keys() != self.columns.keys() or any(_shape(given[k]) != v for k, v in self._shapes.items()):
            raise self._refusal(given)
        return {name: [array] if (last := self._last[name]) is None else [array, last] for name, array in given.items()}

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        return {name: (spec.shape, np.dtype(spec.dtype)) for name, spec in self.columns.items()}

    @cached_property
    def _last(self) -> dict[str, np.ndarray | None]:
        """What stands behind the steps of a piece: nothing for observations, which have one more."""
        return {name: None if name.startswith("obs.") else spec.zeros(1) for name, spec in self.columns.items()}

    def _refusal(self, given: Mapping[str, np.ndarray]) -> SpecError:
        found = [
            f"{name}: {describe(self.columns.get(name))} in the store, {_tell(given.get(name))} given"
            for name in sorted(given.keys() | self.columns.keys())
            if name not in self.columns or name not in given or _shape(given[name]) != self._shapes[name]
        ]
        return SpecError("; ".join(found), "the arrays that the store was made for", "use a store of its own")

    def to_json(self) -> dict[str, Any]:
        extras = {name: asdict(spec) for name, spec in self.extras.items()}
        return {"format": FORMAT, "spec": self.spec.to_json(), "extras": extras, "packed": list(self.packed)}

    @staticmethod
    def from_json(tree: Mapping[str, Any]) -> Layout:
        """The inverse of `to_json`; StoreError for another format."""
        if tree["format"] != FORMAT:
            raise StoreError(f"a store of format {tree['format']}", f"format {FORMAT}", "use what it was made with")
        extras = {name: ArraySpec.from_json(spec) for name, spec in tree["extras"].items()}
        return Layout(EnvSpec.from_json(tree["spec"]), extras, tuple(tree["packed"]))

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        half = folder / "store.json.tmp"
        half.write_text(json.dumps(self.to_json(), indent=1))
        half.rename(folder / "store.json")

    @staticmethod
    def read(folder: Path) -> Layout:
        """StoreError where there is no store, or one that we can not read."""
        path = folder / "store.json"
        if not path.exists():
            raise StoreError(f"no episode store in {folder}", "a folder with store.json", "record one with record.py")
        try:
            return Layout.from_json(json.loads(path.read_text()))
        except (json.JSONDecodeError, KeyError, TypeError) as broken:
            raise StoreError(
                f"{path} is damaged: {broken}", "the description of the store", "copy it from a store of the same env"
            ) from broken


def _shape(array: np.ndarray) -> Shape:
    return array.shape[1:], array.dtype


def _tell(array: np.ndarray | None) -> str:
    return "absent" if array is None else f"{array.dtype.name} {array.shape[1:]}"
