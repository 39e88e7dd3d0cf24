"""What a store keeps, as named arrays, and whether a piece of an episode has exactly those."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from worldmodels.core.errors import ConfigError, SpecError, StoreError
from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec, describe
from worldmodels.data.bits import worth

FORMAT = 4
_OLDER = 3  # the same without bits


@dataclass(frozen=True)
class Layout:
    """The head of a store: `store.json`. `extras` are what the world tells and what the policy adds.

    `origin` is whatever tells how it was made, such as the options of its world.
    """

    spec: EnvSpec
    extras: Mapping[str, ArraySpec] = field(default_factory=dict)
    packed: tuple[str, ...] = ()  # observations that are compressed
    bits: tuple[str, ...] = ()  # columns whose booleans take a bit each
    origin: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def new(
        spec: EnvSpec, extras: Mapping[str, ArraySpec], compress: Sequence[str], origin: Mapping[str, Any]
    ) -> Layout:
        """Of a store that is to be made: what is worth it is kept as bits."""
        plain = Layout(spec, {**spec.extras, **extras}, tuple(compress), (), origin)
        deflated = {f"obs.{name}" for name in plain.packed}
        return replace(plain, bits=tuple(n for n, x in plain.columns.items() if worth(x) and n not in deflated))

    def __post_init__(self) -> None:
        for name, spec in self.columns.items():
            if not re.fullmatch(r"[\w.-]+", name) or not spec.size:
                raise SpecError(f"{name!r} of shape {spec.shape}", "a plain name and at least one number", "rename it")
        if unknown := set(self.packed) - set(self.spec.obs):
            some = ", ".join(self.spec.obs)
            raise ConfigError(f"compress={sorted(unknown)}", f"some of {some}", "name observations in data.compress")

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

    def arrays(self, piece: Episode) -> dict[str, np.ndarray]:
        """What to write for a piece of T steps: T + 1 rows per array, zeros after the last step."""
        if not len(piece):
            raise SpecError(f"a piece of episode {piece.number} without steps", "at least one", "leave it out")
        given = {
            "action": piece.action,
            "reward": piece.reward,
            **{f"extras.{name}": array for name, array in piece.extras.items()},
        }
        for name, flag in {"terminated": piece.terminated, "truncated": piece.truncated}.items():
            given[name] = np.zeros(len(piece), bool)
            given[name][-1] = flag
        done = {name: np.concatenate([array, np.zeros_like(array[:1])]) for name, array in given.items()}
        return {**{f"obs.{name}": array for name, array in piece.obs.items()}, **done}

    def demand(self, given: Mapping[str, ArraySpec]) -> None:
        """SpecError that names the differences unless these are the arrays to keep, a row of each being as told."""
        expected = {name: _plain(spec) for name, spec in self.columns.items()}
        found = {name: _plain(spec) for name, spec in given.items()}
        differences = [
            f"{name}: {describe(self.columns.get(name))} in the store, {_tell(given.get(name))} given"
            for name in sorted(found.keys() | expected.keys())
            if found.get(name) != expected.get(name)
        ]
        if differences:
            raise SpecError("; ".join(differences), "the arrays that the store was made for", "use a store of its own")

    def to_json(self) -> dict[str, Any]:
        extras = {name: asdict(spec) for name, spec in self.extras.items()}
        kept = {"packed": list(self.packed), "bits": list(self.bits)}
        head = {"format": FORMAT, "spec": self.spec.to_json(), "extras": extras, **kept}
        return {**head, "origin": dict(self.origin)} if self.origin else head

    @staticmethod
    def from_json(tree: Mapping[str, Any]) -> Layout:
        """The inverse of `to_json`; StoreError for another format."""
        if tree["format"] not in (_OLDER, FORMAT):
            raise StoreError(f"a store of format {tree['format']}", f"format {FORMAT}", "use what it was made with")
        bits = () if tree["format"] == _OLDER else tuple(tree["bits"])
        extras = {name: ArraySpec.from_json(spec) for name, spec in tree["extras"].items()}
        spec, origin = EnvSpec.from_json(tree["spec"]), tree.get("origin", {})
        return Layout(spec, extras, tuple(tree["packed"]), bits, origin)

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


def _plain(spec: ArraySpec) -> tuple[tuple[int, ...], str]:
    return spec.shape, spec.dtype


def _tell(spec: ArraySpec | None) -> str:
    return "absent" if spec is None else f"{spec.dtype} {spec.shape}"
