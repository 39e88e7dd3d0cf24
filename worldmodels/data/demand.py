"""What a policy may tell a driver, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from worldmodels.core.errors import ConfigError, SpecError
from worldmodels.core.experience import Obs
from worldmodels.core.protocols import Env, Policy
from worldmodels.core.rng import Rng
from worldmodels.core.spec import ArraySpec, EnvSpec, describe


def demand(env: Env, declared: Mapping[str, ArraySpec], action: np.ndarray, extras: Obs) -> None:
    """Refuse what numpy would stretch or cast in silence."""
    spec, width = env.spec, env.width
    _refuse(
        "action", ArraySpec(action.shape, action.dtype.name), ArraySpec((width, *spec.action.shape), spec.action.dtype)
    )
    for name, array in extras.items():
        if name not in declared:
            raise SpecError(f"an extra {name!r}", f"one of {sorted(declared)}", f"declare {name!r} as an extra")
        one = declared[name]
        _refuse(name, ArraySpec(array.shape, array.dtype.name), ArraySpec((width, *one.shape), one.dtype))


def declared_extras(env: Env, policy: Policy) -> dict[str, ArraySpec]:
    """What a policy tells beside its actions in that env."""
    return declared(policy, env.spec, env.width)


def declared(policy: Policy, spec: EnvSpec, width: int = 1) -> dict[str, ArraySpec]:
    """What a policy tells beside its actions: its attribute `extras`, or what it tells when it is asked once."""
    known = getattr(policy, "extras", None)
    if known is not None:
        return dict(known)
    obs = {name: array.zeros(width) for name, array in spec.shown.items()}
    first, memory = np.ones(width, bool), policy.initial(width)
    _, _, told = policy.act(obs, first, memory, explore=True, rng=Rng(0, "probe"))
    return {name: ArraySpec(array.shape[1:], array.dtype.name) for name, array in told.items()}


def demand_shares(spec: EnvSpec, width: int, key: str = "width") -> None:
    """ConfigError unless so many worlds side by side give all parts of a mixture as many steps."""
    count = len(spec.worlds)
    if count and width % count:
        near = sorted({max(width // count, 1) * count, (width // count + 1) * count})
        raise ConfigError(
            f"{key}={width} for a mixture of {count} worlds",
            f"a multiple of {count}, so that all get as many steps",
            f"set {key}={' or '.join(map(str, near))}",
        )


def _refuse(name: str, found: ArraySpec, expected: ArraySpec) -> None:
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise SpecError(f"{name} is {describe(found)}", describe(expected), "return one per world, in this dtype")
