"""Negative log-likelihoods are those of the naive formulas, at the moments that they are said to be of."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.evaluation.openloop import look, merge, open_loop
from worldmodels.evaluation.surprise import onestep, surprises, watch
from worldmodels.model.unroll import arrivals
from worldmodels.ops.bins import two_hot

SPEC = EnvSpec("counting", {"sum": ArraySpec((2,), "float32")}, 1, discrete=False)


@dataclass(frozen=True)
class Sum(Belief):
    total: Tensor  # (B, 1)


@dataclass
class Counting:
    """Adds up actions, as its world does, but forgets to while its eyes are closed; believes in unit normals."""

    decodes: bool = True
    cont: float = 0.75
    spec: EnvSpec = SPEC

    def initial(self, batch):
        return Sum(torch.zeros(batch, 1))

    def encode(self, obs):
        return obs["sum"][..., :1]

    def observe(self, belief, action, embed, *, rng=None):
        return Sum(embed)

    def imagine(self, belief, action, *, rng=None):
        return belief

    def decode(self, belief):
        total = belief.total[..., 0]
        obs = {"sum": belief.total.expand(*total.shape, 2)} if self.decodes else None
        return Prediction(obs, total, torch.full_like(total, self.cont))

    def nll(self, belief, obs, reward, terminated):
        total = belief.total[..., 0]
        of_obs = {"obs/sum": ((obs["sum"] - belief.total).square() / 2).sum(-1)} if self.decodes else {}
        going = -torch.where(terminated, 1 - self.cont, self.cont).log()
        return {**of_obs, "reward": (reward - total).square() / 2, "cont": going}


def windows(rows: int = 4, steps: int = 9) -> Batch:
    action = torch.randn(rows, steps, 1, generator=torch.Generator().manual_seed(0)) + 1
    total = torch.cat([torch.zeros(rows, 1), action[..., 0].cumsum(1)], 1)
    blank = torch.zeros(rows, steps, dtype=torch.bool)
    first = torch.zeros(rows, steps + 1, dtype=torch.bool)
    first[:, 0] = True
    return Batch({"sum": total[..., None].expand(-1, -1, 2)}, action, total[:, 1:], blank, blank, first, ~blank)


def ended(batch: Batch, row: int, step: int) -> Batch:
    """The same, where the episode of one window ends with a step, and the window with it."""
    terminated, mask = batch.terminated.clone(), batch.mask.clone()
    terminated[row, step] = True
    mask[row, step + 1 :] = False
    return replace(batch, terminated=terminated, mask=mask)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def measured(batch: Batch, **options):
    return open_loop(Counting(**options), batch, context=3, horizon=6, rng=generator())


def test_closed_eyes_are_surprised_by_all_that_they_missed_and_one_step_by_one_action():
    batch = windows()
    action = batch.action[:, 2:8, 0]
    errors = measured(batch).errors["nll/sum"]
    torch.testing.assert_close(errors["open"], action.cumsum(1).square().mean(0))
    torch.testing.assert_close(errors["onestep"], action.square().mean(0))
    torch.testing.assert_close(errors["closed"], torch.zeros(6))


def test_rewards_that_are_not_zero_are_told_apart_with_their_own_counts():
    batch = windows()
    reward = batch.reward.clone()
    reward[:3, 2], reward[:, 5], reward[:, 7] = 0, 0, 0
    curve = measured(replace(batch, reward=reward))
    assert curve.rare["nll/reward_nonzero"].tolist() == [1, 4, 4, 0, 4, 0]
    found = curve.errors["nll/reward_nonzero"]["open"]
    before = batch.reward[:, 1]  # the sum when the eyes closed
    naive = [float((reward[3, 2] - before[3]) ** 2 / 2)]
    naive += [float(((reward[:, t] - before) ** 2 / 2).mean()) for t in (3, 4)]
    assert found[:3].tolist() == pytest.approx(naive, rel=1e-4)
    assert found[3].isnan()
    assert curve.rows()[3]["nll/reward_nonzero/open"] is None
    counted = [found[h] * n for h, n in enumerate([1, 4, 4, 0, 4, 0]) if n]
    assert curve.means()["nll/reward_nonzero/open"] == pytest.approx(float(sum(counted)) / 13, rel=1e-5)


def test_ends_of_the_world_are_told_apart():
    curve = measured(ended(windows(), 1, 4))
    assert curve.rare["nll/cont_terminal"].tolist() == [0, 0, 1, 0, 0, 0]
    assert curve.errors["nll/cont_terminal"]["open"][2].item() == pytest.approx(-math.log(0.25))
    assert curve.errors["nll/cont"]["closed"][2].item() == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4)


def test_what_was_measured_nowhere_has_no_mean():
    means = measured(windows()).means()
    assert "nll/cont/open" in means
    assert not any(name.startswith("nll/cont_terminal") for name in means)


def test_the_first_five_steps_have_a_mean_of_their_own():
    curve = measured(windows())
    errors = curve.errors["nll/sum"]["open"]
    means = curve.means()
    assert means["nll/sum/open_first5"] == pytest.approx(errors[:5].mean().item())
    assert means["nll/sum/open"] == pytest.approx(errors.mean().item())
    short = open_loop(Counting(), windows(), context=3, horizon=4, rng=generator())
    assert "nll/sum/open_first5" not in short.means()


def test_a_model_without_a_decoder_tells_of_reward_and_continuation_only():
    curve = measured(windows(), decodes=False)
    told = {quantity for quantity, by in curve.errors.items() if "open" in by}
    assert told == {"mse/reward", "nll/reward", "nll/reward_nonzero", "nll/cont", "nll/cont_terminal"}


def test_merged_curves_weigh_rare_moments_by_their_own_counts():
    a = windows(3)
    b = replace(windows(2), reward=torch.zeros(2, 9))
    c = ended(windows(3), 0, 6)
    merged = merge([measured(a), measured(b), measured(c)])
    assert merged.rare["nll/reward_nonzero"].tolist() == [6, 6, 6, 6, 6, 5]
    parts = [(x.errors["nll/reward_nonzero"]["open"], n) for x, n in ((measured(a), 3.0), (measured(c), 2.0))]
    expected = sum(float(error[5]) * n for error, n in parts) / 5
    assert merged.errors["nll/reward_nonzero"]["open"][5].item() == pytest.approx(expected)


def test_held_out_means_count_every_arrival_once():
    batches = [windows(3), ended(windows(2), 1, 3)]
    told = surprises(Counting(), batches, generator())
    naive: dict[str, list[float]] = {"sum": [], "reward_nonzero": [], "end": []}
    for batch in batches:
        for row in range(len(batch.mask)):
            for t in range(9):
                if batch.mask[row, t]:
                    naive["sum"].append(float(batch.action[row, t, 0] ** 2))
                    naive["reward_nonzero"].append(float(batch.action[row, t, 0] ** 2) / 2)
                    naive["end"] += [-math.log(0.25)] if batch.terminated[row, t] else []
    assert told["nll/sum/onestep"] == pytest.approx(sum(naive["sum"]) / len(naive["sum"]), rel=1e-5)
    assert told["nll/reward_nonzero/onestep"] == pytest.approx(
        sum(naive["reward_nonzero"]) / len(naive["reward_nonzero"]), rel=1e-5
    )
    assert told["nll/cont_terminal/closed"] == pytest.approx(naive["end"][0])
    assert told["nll/sum/closed"] == pytest.approx(0, abs=1e-10)
    assert surprises(object(), [], generator()) == {}


def small(**more: ArraySpec):
    """A real model of a world with planes (and more, all zeros), and a window of it."""
    from worldmodels.model.recurrence import Recurrence
    from worldmodels.model.rssm import RSSM
    from worldmodels.nn.decoder import Decoder
    from worldmodels.nn.encoder import Encoder
    from worldmodels.nn.heads import BinaryHead, TwoHotHead

    spec = EnvSpec("planes", {"grid": ArraySpec((3, 3, 2), "bool", "planes"), **more}, 3)
    torch.manual_seed(3)
    model = RSSM(
        spec,
        encoder=lambda s, **style: Encoder(s, units=8, layers=1, grid="mlp", **style),
        recurrence=lambda a, e, **style: Recurrence(a, e, deter=8, stoch=2, classes=3, hidden=8, gru="dv2", **style),
        decoder=lambda s, size, **style: Decoder(s, size, units=8, layers=1, grid="mlp", **style),
        reward=lambda size, **style: TwoHotHead(size, units=8, bins=11, limit=2.0, **style),
        cont=lambda size, **style: BinaryHead(size, units=8, **style),
    )
    for parameter in model.heads.reward.parameters():  # two-hot heads begin at 0, and say the same of everything
        parameter.data.normal_()
    grid = torch.rand(2, 8, 3, 3, 2) < 0.4
    action, reward = torch.randint(3, (2, 7)), torch.randn(2, 7)
    blank, first = torch.zeros(2, 7, dtype=torch.bool), torch.zeros(2, 8, dtype=torch.bool)
    first[:, 0] = True
    terminated = blank.clone()
    terminated[1, 6] = True
    obs = {"grid": grid, **{name: torch.zeros(2, 8, *array.shape) for name, array in more.items()}}
    return model, Batch(obs, action, reward, terminated, blank, first, ~blank)


@torch.no_grad()
def test_a_real_models_surprise_follows_from_what_it_says():
    """Bernoulli planes and continuation from the decoded probabilities; two-hot rewards from the bins."""
    model, batch = small()
    curve = open_loop(model, batch, context=3, horizon=5, rng=generator())
    rng = generator()
    found = look(model, batch, context=3, horizon=5, rng=rng)
    for predictor, said in (("open", found.blind), ("closed", found.seeing)):
        start = 0 if predictor == "open" else 3
        p = said.obs["grid"][:, start : start + 5]
        there = batch.obs["grid"][:, 3:8]
        planes = -torch.where(there, p, 1 - p).log().sum((-1, -2, -3))
        torch.testing.assert_close(curve.errors["nll/grid"][predictor], planes.mean(0))
        cont = said.cont[:, start : start + 5]
        going = -torch.where(batch.terminated[:, 2:7], 1 - cont, cont).log()
        torch.testing.assert_close(curve.errors["nll/cont"][predictor], going.mean(0))
    before = watch(model, batch, 8, generator()).map(lambda x: x[:, 2:7])
    belief = onestep(model, before, arrivals(model.spec, batch)[:, 3:8], rng)
    logits = model.heads.reward(belief.feature)
    target = two_hot(batch.reward[:, 2:7], model.heads.reward.bins)
    naive = -(target * logits.log_softmax(-1)).sum(-1).mean(0)
    torch.testing.assert_close(curve.errors["nll/reward"]["onestep"], naive)


def test_an_observation_that_is_called_reward_is_not_taken_for_the_reward():
    model, batch = small(reward=ArraySpec((2,), "float32"))
    curve = open_loop(model, batch, context=3, horizon=5, rng=generator())
    for kind in ("mse", "nll"):
        assert {f"{kind}/reward", f"{kind}/obs/reward"} <= curve.errors.keys()
    truth = batch.reward[:, 2:7]
    error = (truth - batch.reward.mean()).square().mean(0)
    torch.testing.assert_close(curve.errors["mse/reward"]["mean"], error)
    assert (curve.errors["mse/obs/reward"]["mean"] == 0).all()


@torch.no_grad()
def test_one_step_ahead_keeps_the_past_and_draws_from_the_prior():
    model, batch = small()
    rng = generator()
    seeing = watch(model, batch, 8, rng)
    state = rng.get_state()
    action = arrivals(model.spec, batch)[:, 1:8]
    belief = onestep(model, seeing.map(lambda x: x[:, :-1]), action, rng)
    assert torch.equal(rng.get_state(), state)  # whoever draws next does not notice
    torch.testing.assert_close(belief.deter, seeing.deter[:, 1:])  # the deterministic part has seen everything before
    torch.testing.assert_close(belief.prior, seeing.prior[:, 1:])
    assert not torch.equal(belief.stoch, seeing.stoch[:, 1:])
