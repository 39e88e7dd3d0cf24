"""Parts of a model that must not learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from worldmodels.core.errors import ConfigError


def freeze(model: nn.Module, names: Sequence[str]) -> None:
    """Turn off the gradients of the named parts of a model, such as `rssm` or `heads.reward`.

    ConfigError for a name that it does not have. The optimizer takes only what has gradients, so nothing moves the
    rest, weight decay included.
    """
    for name in names:
        part(model, name).requires_grad_(False)


def part(model: nn.Module, name: str) -> nn.Module:
    """A part by its name as `worldmodels count` prints it; parts of parts come after a dot."""
    known = [child for child, module in model.named_children() if next(module.parameters(), None) is not None]
    modules = dict(model.named_modules())
    if name.partition(".")[0] not in known or name not in modules:
        raise ConfigError(
            f"the model has no part {name!r}",
            f"one of {', '.join(known)}, or a part of those, such as heads.reward",
            "correct the name; `worldmodels count` prints the parts",
        )
    return modules[name]


@contextmanager
def fixed(*modules: nn.Module) -> Iterator[None]:
    """What is computed inside passes gradients through these modules, and none to their parameters."""
    learning = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in learning:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)
