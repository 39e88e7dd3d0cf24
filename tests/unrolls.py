"""A small MuZero, and windows of all kinds of ends for it to learn from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model import muzero
from worldmodels.model.prefix import ValuePrefix
from worldmodels.model.vector import Flat, VectorDynamics, VectorRepresentation
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import TransformedHead
from worldmodels.nn.mlp import MLP
from worldmodels.planner.gumbel import Gumbel
from worldmodels.policy.searching import POLICY, VALUE
from worldmodels.stage.muzero import MuZero

SPEC = EnvSpec("v", {"vector": ArraySpec((3,), "float32")}, 4)
K, N = 3, 2
LENGTH = K + N + 1


def model() -> Callable[[EnvSpec], muzero.MuZero]:
    head = partial(TransformedHead, units=8, bins=21, limit=5.0)
    return partial(
        muzero.MuZero,
        representation=partial(VectorRepresentation, encoder=partial(Encoder, units=8), size=6),
        dynamics=partial(VectorDynamics, units=8),
        neck=Flat,
        reward=head,
        value=head,
        prior=partial(MLP, width=8, depth=1),
    )


def q_model() -> Callable[[EnvSpec], muzero.MuZero]:
    head = partial(TransformedHead, units=8, bins=21, limit=5.0)
    return partial(model(), value=None, prior=None, q=head)


def prefix_model() -> Callable[[EnvSpec], muzero.MuZero]:
    return partial(model(), prefix=partial(ValuePrefix, units=8, horizon=2))


def learner(**options: Any) -> MuZero:
    torch.manual_seed(0)
    options = {"model": model(), "planner": Gumbel(simulations=2), "unroll": K, "n_step": N, "discount": 0.9, **options}
    stage = MuZero(options.pop("spec", SPEC), **options)
    for p in stage.parameters():  # heads begin at zero
        p.data.add_(0.3 * torch.randn_like(p))
    return stage


def windows() -> Batch:
    """Windows that end at every step, by the world's end or by a clock, and whole ones; some were not searched."""
    rng = np.random.default_rng(0)
    ends = [(end, kind) for end in range(LENGTH) for kind in ("terminated", "truncated", "running")] + [(None, "whole")]
    shape = (len(ends), LENGTH)
    flags = {"terminated": np.zeros(shape, bool), "truncated": np.zeros(shape, bool)}
    mask = np.ones(shape, bool)
    for b, (end, kind) in enumerate(ends):
        if end is not None:
            mask[b, end + 1 :] = False
            if kind in flags:
                flags[kind][b, end] = True
    policy = rng.dirichlet(np.ones(4), size=shape) * mask[..., None]
    policy[2:7, 0] = 0  # lived at random
    policy[-4:, :3] = 0
    numbers = {
        "obs": rng.normal(size=(len(ends), LENGTH + 1, 3)),
        "reward": rng.normal(size=shape) * mask,
        "value": rng.normal(size=shape) * mask,
        "policy": policy,
    }
    floats = {name: torch.from_numpy(array.astype(np.float32)) for name, array in numbers.items()}
    first = torch.zeros(len(ends), LENGTH + 1, dtype=torch.bool)
    return Batch(
        obs={"vector": floats["obs"]},
        action=torch.from_numpy(rng.integers(4, size=shape) * mask),
        reward=floats["reward"],
        **{name: torch.from_numpy(array) for name, array in flags.items()},
        first=first,
        mask=torch.from_numpy(mask),
        extras={POLICY: floats["policy"], VALUE: floats["value"]},
    )
