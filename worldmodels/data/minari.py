"""Minari data sets to episode stores and back (Younis et al., 2024, https://minari.farama.org)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from worldmodels.core.errors import ConfigError, MissingExtraError, SpecError, StoreError
from worldmodels.core.experience import Episode
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.data.layout import Layout
from worldmodels.data.store import EpisodeStore

_LAYOUT = "worldmodels_layout"  # metadata by which our own exports come back exactly


def load(dataset: str | Path) -> Any:
    """A local Minari data set, by its folder or its id; nothing is downloaded."""
    minari = _package()
    folder = Path(dataset)
    if (folder / "data").is_dir():
        return minari.MinariDataset(folder / "data")
    try:
        return minari.load_dataset(str(dataset))
    except (FileNotFoundError, ValueError) as missing:
        raise ConfigError(
            f"no Minari data set {str(dataset)!r} on this machine: {missing}",
            "the id or the folder of one that is",
            f"minari download {dataset}",
        ) from missing


def layout_of(dataset: Any) -> Layout:
    """What a store must keep for this data set; SpecError for spaces that no learner here understands."""
    told = dataset.storage.metadata.get(_LAYOUT)
    if told is not None:
        return Layout.from_json(json.loads(told))
    name = dataset.env_spec.id if dataset.env_spec is not None else dataset.id
    obs = {key: _array_spec(key, space) for key, space in _leaves(dataset.observation_space).items()}
    action = dataset.action_space
    if isinstance(action, spaces.Discrete):
        return Layout(EnvSpec(name, obs, int(action.n)))
    if isinstance(action, spaces.Box) and np.isfinite([action.low, action.high]).all():
        return Layout(EnvSpec(name, obs, int(np.prod(action.shape)), discrete=False))
    raise SpecError(f"actions from {action}", "Discrete, or a Box with finite bounds", "convert the data set first")


def import_minari(dataset: Any, folder: str | Path) -> int:
    """Write a data set (see `load`) to a new store; the number of episodes.

    Float64 becomes float32, actions are shifted to begin at 0 or shrunk to [-1, 1], texts are left out. Infos are kept
    where we exported them. An episode that neither terminated nor was truncated counts as truncated: no data follow.
    """
    layout = layout_of(dataset)
    with EpisodeStore.create(folder, layout.spec, extras=layout.extras) as store:
        for number, episode in enumerate(dataset.iterate_episodes()):
            store.extend([_read(dataset, layout, episode, number)])
        return len(store)


def export_minari(store: EpisodeStore, dataset_id: str, *, jpeg: bool = False, **about: Any) -> Any:
    """Write the episodes that are over to a new local data set, where Minari keeps its own.

    Minari turns uint8 frames into JPEG, which changes them (and, below 32 pixels, can not read them back). So they are
    written as int16 with the same values, and come back as they were, unless `jpeg` asks for small files. about: what
    Minari's `create_dataset_from_buffers` wants to know, such as author, algorithm_name, description.
    """
    minari = _package()
    _check_id(dataset_id)
    if not store.episodes.ended.any():
        found = f"{store.folder} has no episode that is over"
        raise StoreError(found, "at least one, since others are left out", "record more first")
    if dataset_id in minari.list_local_datasets():
        raise ConfigError(f"the data set {dataset_id} exists", "a new id", "raise its version, as in -v1")
    obs = {name: _space(spec, jpeg) for name, spec in store.spec.obs.items()}
    dataset = minari.create_dataset_from_buffers(
        dataset_id,
        _buffers(store, obs),
        observation_space=next(iter(obs.values())) if len(obs) == 1 else spaces.Dict({**obs}),
        action_space=spaces.Discrete(store.spec.action_size)
        if store.spec.discrete
        else spaces.Box(-1, 1, (store.spec.action_size,), np.float32),
        **about,
    )
    dataset.storage.update_metadata({_LAYOUT: json.dumps(store.layout.to_json())})
    return dataset


def _check_id(dataset_id: str) -> None:
    """ConfigError unless Minari can read the id, and finds a version in it."""
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as wrong:  # TypeError: of its own making, where there is no version
        raise ConfigError(
            f"{dataset_id!r} is no id of a Minari data set",
            "<name>-v<version>, with or without a <namespace>/ before it",
            f"try {dataset_id.strip('/')}-v0" if isinstance(wrong, TypeError) else "try mine/breakout-v0, for example",
        ) from wrong


def _package() -> Any:
    try:
        import h5py  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import minari
    except ImportError as missing:
        raise MissingExtraError(missing.name or "minari", "minari") from missing
    return minari


def _read(dataset: Any, layout: Layout, episode: Any, number: int) -> Episode:
    """One of its episodes as one of ours."""
    seen, told = _flat(episode.observations), _flat(episode.infos or {})
    steps = len(episode.rewards)
    about = dataset.storage.get_episode_metadata([episode.id])
    seed = next(iter(about), {}).get("seed")
    obs = {name: _fitting(name, spec, seen, steps + 1) for name, spec in layout.spec.obs.items()}
    extras = {name: _fitting(name, spec, told, steps + 1)[1:] for name, spec in layout.extras.items()}
    terminated = bool(episode.terminations[-1])
    return Episode(
        obs,
        _action(dataset.action_space, episode.actions),
        np.asarray(episode.rewards, np.float32),
        terminated,
        not terminated,
        extras,
        {"minari": dataset.id, "episode": int(episode.id), **({} if seed is None else {"seed": int(seed)})},
        number,
    )


def _fitting(name: str, spec: ArraySpec, arrays: Mapping[str, Any], count: int) -> np.ndarray:
    array = np.asarray(arrays[name] if name in arrays else arrays["obs"])
    if array.size != count * spec.size:
        raise SpecError(
            f"{name} of shape {array.shape} in an episode of {count - 1} steps",
            f"{(count, *spec.shape)}, as its space says",
            "mend the data set: Minari can not read back images below 32 pixels",
        )
    return np.ascontiguousarray(array.reshape(count, *spec.shape), spec.dtype)


def _action(space: spaces.Space[Any], action: Any) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        return np.asarray(action, np.int64).reshape(-1) - int(space.start)
    assert isinstance(space, spaces.Box)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    scaled = 2 * (np.asarray(action, np.float64) - low) / (high - low) - 1
    return np.clip(scaled, -1, 1).astype(np.float32).reshape(len(scaled), -1)


def _leaves(space: spaces.Space[Any], name: str = "") -> dict[str, spaces.Space[Any]]:
    """Nested Dict and Tuple spaces by dotted names; a space without names is called `obs`. Texts are left out."""
    if isinstance(space, spaces.Dict):
        inner = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        inner = ((str(i), part) for i, part in enumerate(space.spaces))
    else:
        return {} if isinstance(space, spaces.Text) else {name or "obs": space}
    parts = [_leaves(part, f"{name}.{key}" if name else str(key)) for key, part in inner]
    return {key: leaf for part in parts for key, leaf in part.items()}


def _flat(tree: Any, name: str = "") -> dict[str, Any]:
    """Arrays by the same names as `_leaves` gives their spaces."""
    if isinstance(tree, Mapping | tuple):
        inner = tree.items() if isinstance(tree, Mapping) else ((str(i), part) for i, part in enumerate(tree))
        parts = [_flat(part, f"{name}.{key}" if name else str(key)) for key, part in inner]
        return {key: leaf for part in parts for key, leaf in part.items()}
    return {name or "obs": tree}


def _array_spec(name: str, space: spaces.Space[Any]) -> ArraySpec:
    if isinstance(space, spaces.Discrete):
        return ArraySpec((1,), "int64")
    if not isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete):
        raise SpecError(f"observation {name!r} from {space}", "numbers of a fixed shape", "convert the data set first")
    dtype = np.dtype(np.float32) if space.dtype == np.float64 else np.dtype(space.dtype)
    pictures = len(space.shape) == 3 and dtype == np.uint8
    return ArraySpec(space.shape or (1,), dtype.name, "image" if pictures else "vector")


def _space(spec: ArraySpec, jpeg: bool) -> spaces.Box:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, spec.shape, dtype.type)
    if dtype == np.bool_:
        return spaces.Box(0, 1, spec.shape, np.int8)
    limits = np.iinfo(dtype)
    keep = dtype != np.uint8 or (jpeg and spec.kind == "image" and min(spec.shape[:2]) >= 32 and spec.shape[2] == 3)
    return spaces.Box(limits.min, limits.max, spec.shape, dtype.type if keep else np.int16)


def _buffers(store: EpisodeStore, kept: Mapping[str, spaces.Box]) -> Iterator[Any]:
    """Ended episodes in Minari's form: flags per step, infos with a row for the first observation."""
    from minari.data_collector import EpisodeBuffer

    episodes = store.episodes
    for place, number in enumerate(episodes.number[episodes.ended].tolist()):
        episode = store[number]
        obs = {name: frames.astype(kept[name].dtype) for name, frames in episode.obs.items()}
        flags = np.zeros((2, len(episode)), bool)
        flags[:, -1] = episode.terminated, episode.truncated
        seed = episode.source.get("seed")
        yield EpisodeBuffer(
            id=place,
            seed=seed if isinstance(seed, int) else None,
            observations=next(iter(obs.values())) if len(obs) == 1 else obs,  # pyright: ignore[reportArgumentType] (its hints forbid bare arrays)
            actions=episode.action,  # pyright: ignore[reportArgumentType]
            rewards=episode.reward,  # pyright: ignore[reportArgumentType]
            terminations=flags[0],  # pyright: ignore[reportArgumentType]
            truncations=flags[1],  # pyright: ignore[reportArgumentType]
            infos={k: np.concatenate([np.zeros_like(v[:1]), v]) for k, v in episode.extras.items()} or None,
        )
