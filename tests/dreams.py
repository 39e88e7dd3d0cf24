"""A Dreamer that is small enough for loops in Python, and a batch with all that a window can hold."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.recurrence import Recurrence
from worldmodels.model.rssm import RSSM
from worldmodels.nn.action import ActionHead
from worldmodels.nn.decoder import Decoder
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import BinaryHead, TwoHotHead
from worldmodels.nn.representation import Representation
from worldmodels.stage.behaviour import Imagination
from worldmodels.stage.dreamer import Dreamer

SPEC = EnvSpec("tiny", {"grid": ArraySpec((4, 4, 2), "bool", "planes")}, action_size=3)
NUMBERS = EnvSpec("tiny", SPEC.obs, action_size=2, discrete=False)
PLAN = Imagination(horizon=3, starts=8, discount=0.9, entropy=0.3)
SCALES = {"obs": 1.0, "reward": 1.0, "cont": 1.0, "dyn": 1.0, "rep": 0.1}


def model(spec: EnvSpec = SPEC, *, classes: int = 5, decoder: bool = True) -> RSSM:
    """With a reward head that has an opinion; it would begin with none."""
    torch.manual_seed(0)
    made = RSSM(
        spec,
        partial(Encoder, grid="mlp", units=12),
        partial(Recurrence, deter=16, stoch=4, classes=classes, hidden=12, gru="dv2"),
        partial(Decoder, grid="mlp", units=12) if decoder else None,
        partial(TwoHotHead, units=12, bins=11, limit=3.0),
        partial(BinaryHead, units=12),
        None if decoder else Representation,
    )
    nn.init.normal_(made.heads.reward.mlp[-1].weight)
    return made


def dreamer(spec: EnvSpec = SPEC, parts: dict[str, Any] | None = None, **options: Any) -> Dreamer:
    """With critics that have opinions, each its own."""
    stage = Dreamer(
        spec,
        lambda spec: model(spec, **(parts or {})),
        partial(ActionHead, units=12, layers=1, out_scale=1.0),
        partial(TwoHotHead, units=12, bins=11, limit=3.0),
        **{"imagination": PLAN, **options},
    )
    for critic in (stage.critic, stage.slow_critic.module):
        nn.init.normal_(critic.mlp[-1].weight)
    return stage


def batch(spec: EnvSpec = SPEC) -> Batch:
    """Window 0 runs over an end at step 2 into the next episode; window 1 is padded after its end at step 3."""
    rng = torch.Generator().manual_seed(1)
    obs = torch.rand(2, 7, 4, 4, 2, generator=rng) > 0.5
    mask = torch.ones(2, 6, dtype=torch.bool)
    first = torch.zeros(2, 7, dtype=torch.bool)
    terminated = torch.zeros(2, 6, dtype=torch.bool)
    first[:, 0] = first[0, 4] = True
    mask[0, 3] = False  # from the final observation (3) to the next first one (4)
    mask[1, 4:] = False  # padding
    terminated[0, 2] = terminated[1, 3] = True
    action = torch.randint(3, (2, 6), generator=rng) * mask
    reward = torch.randn(2, 6, generator=rng) * mask
    if not spec.discrete:
        action = (torch.rand(2, 6, spec.action_size, generator=rng) * 2 - 1) * mask[..., None]
    return Batch({"grid": obs}, action, reward, terminated, torch.zeros_like(terminated), first, mask)
