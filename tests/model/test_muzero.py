from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from worldmodels.core.errors import ConfigError
from worldmodels.core.protocols import WorldModel
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.model.latent import LatentBelief
from worldmodels.model.muzero import MuZero
from worldmodels.model.vector import Flat, VectorDynamics, VectorRepresentation
from worldmodels.nn.encoder import Encoder
from worldmodels.nn.heads import TransformedHead
from worldmodels.nn.mlp import MLP

SPEC = EnvSpec("tiny", {"grid": ArraySpec((6, 6, 3), "bool", "planes")}, action_size=4)


def make(spec: EnvSpec = SPEC, **options: Any) -> MuZero:
    torch.manual_seed(0)
    head = partial(TransformedHead, units=8, bins=21, limit=5.0)
    made = MuZero(
        spec,
        partial(VectorRepresentation, encoder=partial(Encoder, depth=4, multipliers=[1]), size=16),
        partial(VectorDynamics, units=8),
        Flat,
        **{"reward": head, "value": head, "prior": partial(MLP, width=8, depth=1), **options},
    )
    for p in made.parameters():  # heads begin at zero
        p.data.add_(0.3 * torch.randn_like(p))
    return made


def seen(*leading: int) -> dict[str, torch.Tensor]:
    return {"grid": torch.rand(*leading, 6, 6, 3, generator=torch.Generator().manual_seed(1)) > 0.5}


def test_it_is_a_world_model_whose_belief_is_what_it_sees() -> None:
    model = make()
    assert isinstance(model, WorldModel)
    embed = model.encode(seen(5))
    action = F.one_hot(torch.arange(5) % 4, 4).float()
    belief = model.observe(model.initial(5), action, embed)
    assert torch.equal(belief.latent, embed)
    after = model.imagine(belief, action)
    reward = model.decode(after).reward
    assert reward is not None
    assert torch.equal(reward, model.reward(after))
    assert model.prior(after.latent).shape == (5, 4)


def test_latents_reach_from_zero_to_one_and_constant_ones_are_no_numbers_lost() -> None:
    model = make()
    action = F.one_hot(torch.arange(5) % 4, 4).float()
    for latent in (model.encode(seen(5)), model.advance(model.encode(seen(5)), action)):
        torch.testing.assert_close(latent.amin(1), torch.zeros(5))
        torch.testing.assert_close(latent.amax(1), torch.ones(5))
    assert torch.isfinite(model.scaler(torch.full((2, 16), 3.0))).all()
    assert make(scaling="none").encode(seen(5)).amax() > 1


def test_each_row_follows_its_own_action() -> None:
    """Whatever the others of its batch do, and with any leading dimensions."""
    model, action = make(), torch.arange(12) % 4
    latent = model.encode(seen(12))
    together = model.advance(latent, F.one_hot(action, 4).float())
    for i in range(12):
        alone = model.advance(latent[i : i + 1], F.one_hot(action[i : i + 1], 4).float())
        torch.testing.assert_close(together[i], alone[0])
    folded = model.advance(latent.view(3, 4, 16), F.one_hot(action, 4).float().view(3, 4, 4))
    torch.testing.assert_close(folded.flatten(0, 1), together)
    assert (model.advance(latent, F.one_hot((action + 1) % 4, 4).float()) != together).any(1).all()


def test_before_it_learns_it_expects_nothing_and_prefers_nothing() -> None:
    torch.manual_seed(0)
    head = partial(TransformedHead, units=8, bins=21, limit=5.0)
    model = MuZero(
        SPEC,
        partial(VectorRepresentation, encoder=partial(Encoder, depth=4)),
        VectorDynamics,
        Flat,
        head,
        head,
        partial(MLP, width=8, depth=1),
    )
    latent = model.encode(seen(5))
    for told in (model.reward(LatentBelief(latent)), model.value(latent), model.prior(latent)):
        assert (told == 0).all()


def test_a_belief_maps_as_others_do() -> None:
    belief = LatentBelief(torch.ones(2, 3))
    assert torch.equal(belief.map(lambda x: 2 * x).latent, torch.full((2, 3), 2.0))


def test_a_model_that_lacks_a_head_names_it() -> None:
    with pytest.raises(ConfigError, match=r"without a head for value and prior[\s\S]*or one for q"):
        make(value=None, prior=None)


def test_continuous_actions_are_refused() -> None:
    arm = EnvSpec("arm", {"vector": ArraySpec((3,), "float32")}, 2, discrete=False)
    with pytest.raises(ConfigError, match="continuous actions"):
        make(arm)
