"""Weights that others published: files to tensors, or a refusal that says what does not fit."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError

_GZIP = b"\x1f\x8b"
SHOWN = 6  # tensors that are told


def read(path: Path, *, trusted: bool = False) -> Mapping[str, Any]:
    """What a file of torch.save holds, gzipped or not, on the CPU, wherever it was saved.

    Only tensors and plain data, unless the file is `trusted`: then whatever it was pickled with runs.
    """
    data = path.read_bytes()
    try:
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=not trusted)
    except UnpicklingError as error:
        if trusted or "Unsupported global" not in str(error):
            raise _unreadable(path, error) from error
        raise ConfigError(
            f"{path} holds more than tensors and plain data",
            "a file that can be read without running what is in it",
            "set policy.trusted=true if you trust where it comes from: reading it may run code",
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, zlib.error) as error:  # of a cut or foreign file
        raise _unreadable(path, error) from error
    if not isinstance(held, Mapping):
        raise ConfigError(f"{path} holds a {type(held).__name__}", "a dict of tensors by name", "give another file")
    return held


def _unreadable(path: Path, error: Exception) -> ConfigError:
    foreign = isinstance(error, (KeyError, UnpicklingError))  # torch's advice would be to let it run its code
    reason = "it holds something else" if foreign else next(iter(str(error).splitlines()), "it is empty")
    return ConfigError(f"{path} can not be read: {reason}", "a whole file of torch.save", "download it again")


def fit(path: Path, weights: Mapping[str, Any], net: nn.Module) -> None:
    """Load the weights into the net; ConfigError, with what differs, unless names and shapes are just the net's."""
    if wrong := _differences(weights, net.state_dict()):
        raise ConfigError(
            f"{path} holds another network:\n    " + "\n    ".join(wrong),
            f"the weights of {type(net).__name__}",
            "give a file of that network",
        )
    if broken := [name for name, tensor in weights.items() if not _numbers(tensor)]:
        raise ConfigError(
            f"{path}: {', '.join(_cut(broken, SHOWN))} {'holds' if len(broken) == 1 else 'hold'} no finite floats",
            "weights that are numbers; who acts by others would always take the first action",
            "download it again, or give another file",
        )
    net.load_state_dict(dict(weights))
    net.eval().requires_grad_(False)


def _differences(weights: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> list[str]:
    """Tensor by tensor; of foreign names, which nothing can be compared with, the names alone."""
    if not set(weights) & set(wanted):
        return [f"the file names {_names(weights)}", f"expected are {_names(wanted)}"]
    wrong = [
        f"{name}: {_shape(weights.get(name))} in the file, {_shape(wanted.get(name))} expected"
        for name in sorted({*weights, *wanted})
        if _shape(weights.get(name)) != _shape(wanted.get(name))
    ]
    return _cut(wrong, SHOWN)


def _numbers(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isfinite().all())


def _names(weights: Mapping[str, Any]) -> str:
    return ", ".join(_cut([str(name) for name in weights], SHOWN)) or "nothing"


def _cut(words: list[str], most: int) -> list[str]:
    return [*words[:most], *([f"and {len(words) - most} more"] if len(words) > most else [])]


def _shape(tensor: Any) -> str:
    if isinstance(tensor, Tensor):
        return str(tuple(tensor.shape))
    return "absent" if tensor is None else type(tensor).__name__


def found(patterns: list[str], published: str) -> list[Path]:
    """The files that patterns with * name; ConfigError for one that names none, with where such files are published."""
    files: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = f"{pattern or 'nothing'}, which is a folder, among the files of agents"
            raise ConfigError(found, "files, or a pattern such as <folder>/*", "name the files in it")
        there = [path] if path.is_file() else sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        there = [each for each in there if each.is_file()]
        if not there:
            raise ConfigError(f"no file {pattern}", published, "download the files, or correct the path")
        files += there
    return list(dict.fromkeys(files))
