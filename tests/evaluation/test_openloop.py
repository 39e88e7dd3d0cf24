from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from worldmodels.core.belief import Belief, Prediction
from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.evaluation.openloop import look, merge, open_loop

SPEC = EnvSpec("counting", {"sum": ArraySpec((2,), "float32")}, 1, discrete=False)


@dataclass(frozen=True)
class Sum(Belief):
    total: Tensor  # (B, 1)


@dataclass
class Counting:
    """Knows that observations are the sum of all actions (twice), and that reward is that sum.

    With closed eyes it adds `gain` times the action: 1 is the truth, 0 forgets to act. `luck` is the noise it adds.
    """

    gain: float = 1.0
    luck: float = 0.0
    cont: float = 0.75
    spec: EnvSpec = SPEC

    def initial(self, batch):
        return Sum(torch.zeros(batch, 1))

    def encode(self, obs):
        return obs["sum"][..., :1]

    def observe(self, belief, action, embed, *, rng=None):
        return Sum(embed)

    def imagine(self, belief, action, *, rng=None):
        return Sum(belief.total + self.gain * action + self.luck * torch.randn(action.shape, generator=rng))

    def decode(self, belief):
        total = belief.total[..., 0]
        return Prediction({"sum": belief.total.expand(*total.shape, 2)}, total, torch.full_like(total, self.cont))


def windows(rows: int = 4, steps: int = 9, seed: int = 0) -> Batch:
    """Windows of unfinished episodes of that world."""
    action = torch.randn(rows, steps, 1, generator=torch.Generator().manual_seed(seed)) + 1
    total = torch.cat([torch.zeros(rows, 1), action[..., 0].cumsum(1)], 1)
    blank = torch.zeros(rows, steps, dtype=torch.bool)
    first = torch.zeros(rows, steps + 1, dtype=torch.bool)
    first[:, 0] = True
    return Batch({"sum": total[..., None].expand(-1, -1, 2)}, action, total[:, 1:], blank, blank, first, ~blank)


def ended(batch: Batch, row: int, step: int) -> Batch:
    """The same, where the episode of one window ends with a step, and another one follows."""
    terminated, mask, first = batch.terminated.clone(), batch.mask.clone(), batch.first.clone()
    terminated[row, step], mask[row, step + 1], first[row, step + 2] = True, False, True
    action = batch.action.clone()
    action[row, step + 1] = 0
    return replace(batch, terminated=terminated, mask=mask, first=first, action=action)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_perfect_model_errs_at_no_horizon():
    curve = open_loop(Counting(), windows(), context=3, horizon=7, rng=generator())
    for quantity in ("mse/sum", "mse/reward"):
        for predictor in ("open", "closed"):
            torch.testing.assert_close(curve.errors[quantity][predictor], torch.zeros(7), atol=1e-9, rtol=0)
    assert curve.count.tolist() == [4] * 7


def test_a_model_that_forgets_to_act_errs_by_the_actions_it_forgot():
    batch = windows()
    curve = open_loop(Counting(gain=0.0), batch, context=3, horizon=5, rng=generator())
    forgotten = batch.action[:, 2:7, 0].cumsum(1)
    torch.testing.assert_close(curve.errors["mse/sum"]["open"], forgotten.square().mean(0))
    torch.testing.assert_close(curve.errors["mse/sum"]["copy"], forgotten.square().mean(0))
    torch.testing.assert_close(curve.errors["mse/reward"]["open"], forgotten.square().mean(0))


def test_the_mean_predictor_errs_by_the_spread_of_the_windows():
    batch = windows()
    curve = open_loop(Counting(), batch, context=3, horizon=7, rng=generator())
    seen = batch.obs["sum"][..., 0]
    expected = (seen[:, 3:10] - seen.mean()).square().mean(0)
    torch.testing.assert_close(curve.errors["mse/sum"]["mean"], expected)
    expected = (batch.reward[:, 2:9] - batch.reward.mean()).square().mean(0)
    torch.testing.assert_close(curve.errors["mse/reward"]["mean"], expected)


def test_what_is_shown_after_the_eyes_close_changes_nothing():
    batch = windows()
    other = batch.obs["sum"].clone()
    other[:, 4:] = 99.0
    a, b = (
        look(Counting(), x, context=4, horizon=5, rng=generator()) for x in (batch, replace(batch, obs={"sum": other}))
    )
    assert torch.equal(a.blind.obs["sum"], b.blind.obs["sum"])
    assert not torch.equal(a.seeing.obs["sum"], b.seeing.obs["sum"])
    assert torch.equal(a.seeing.obs["sum"][:, :4], b.seeing.obs["sum"][:, :4])


def test_nothing_is_measured_beyond_the_end_of_an_episode():
    batch = ended(windows(), row=1, step=4)
    curve = open_loop(Counting(gain=0.0), batch, context=3, horizon=6, rng=generator())
    assert curve.count.tolist() == [4, 4, 4, 3, 3, 3]
    others = torch.tensor([0, 2, 3])
    forgotten = batch.action[others, 2:8, 0].cumsum(1).square().mean(0)
    torch.testing.assert_close(curve.errors["mse/sum"]["open"][3:], forgotten[3:])


def test_continuation_is_scored_up_to_the_step_that_ended_the_world():
    batch = ended(windows(rows=1), row=0, step=4)
    curve = open_loop(Counting(cont=0.75), batch, context=3, horizon=6, rng=generator())
    found = curve.errors["nll/cont"]["open"]
    assert found[:3].tolist() == pytest.approx([-math.log(0.75), -math.log(0.75), -math.log(0.25)])
    assert found[3:].isnan().all()


def test_an_end_before_the_eyes_close_does_not_matter():
    curve = open_loop(Counting(), ended(windows(), row=1, step=1), context=5, horizon=4, rng=generator())
    assert curve.count.tolist() == [4] * 4


def test_merged_curves_equal_one_over_all_windows():
    batch, other = ended(windows(4), row=0, step=4), windows(2, seed=1)
    both = Batch(
        **{
            name: torch.cat([getattr(batch, name), getattr(other, name)])
            for name in ("action", "reward", "terminated", "truncated", "first", "mask")
        },
        obs={"sum": torch.cat([batch.obs["sum"], other.obs["sum"]])},
    )
    a, b, whole = (
        open_loop(Counting(gain=0.5), x, context=3, horizon=7, rng=generator()) for x in (batch, other, both)
    )
    merged = merge([a, b])
    assert torch.equal(merged.count, whole.count)
    for predictor in ("open", "closed", "copy"):
        torch.testing.assert_close(merged.errors["mse/sum"][predictor], whole.errors["mse/sum"][predictor])


def test_a_horizon_that_no_window_reaches_is_left_out_of_means_and_empty_in_rows():
    batch = ended(windows(rows=1), row=0, step=4)
    curve = open_loop(Counting(gain=0.0), batch, context=3, horizon=5, rng=generator())
    means, rows = curve.means(), curve.rows()
    assert means["mse/sum/open"] == pytest.approx(curve.errors["mse/sum"]["open"][:3].mean().item())
    assert rows[0]["horizon"] == 1
    assert rows[2]["mse/sum/open"] == pytest.approx(curve.errors["mse/sum"]["open"][2].item())
    assert rows[3]["mse/sum/open"] is None


def test_randomness_comes_from_the_given_generator_alone():
    before = torch.get_rng_state()
    a, b = (open_loop(Counting(luck=1.0), windows(), context=3, horizon=4, rng=generator()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.errors["mse/sum"]["open"], b.errors["mse/sum"]["open"])
    assert a.errors["mse/sum"]["open"][0] > 0.1


@pytest.mark.parametrize(("context", "horizon"), [(0, 3), (3, 0), (6, 5)])
def test_moments_that_the_windows_do_not_have_are_refused(context, horizon):
    with pytest.raises(ConfigError, match="10 observations"):
        look(Counting(), windows(steps=9), context=context, horizon=horizon, rng=generator())


@dataclass
class Answering(Counting):
    """Says the same whatever it sees."""

    answer: Tensor | None = None

    def encode(self, obs):
        return next(iter(obs.values())).flatten(2)[..., :1].float()

    def decode(self, belief):
        leading = belief.total.shape[:-1]
        return Prediction({"x": self.answer.expand(*leading, *self.answer.shape)})


def answering(array: ArraySpec, obs: Tensor, answer: Tensor) -> dict[str, dict[str, Tensor]]:
    model = Answering(spec=EnvSpec("x", {"x": array}, 1, discrete=False), answer=answer)
    batch = replace(windows(rows=1, steps=3), obs={"x": obs.expand(1, 4, *obs.shape)})
    return dict(open_loop(model, batch, context=2, horizon=2, rng=generator()).errors)


def test_images_are_compared_in_the_scale_of_predictions():
    image = torch.full((4, 4, 3), 51, dtype=torch.uint8)
    errors = answering(ArraySpec((4, 4, 3), "uint8", "image"), image, torch.full((4, 4, 3), 0.5))
    assert errors["mse/x"]["open"].tolist() == pytest.approx([0.09, 0.09])
    assert errors["mse/x"]["copy"].tolist() == [0, 0]


def test_a_cell_of_planes_is_wrong_once_however_many_of_its_planes_are():
    planes = torch.zeros(3, 3, 2, dtype=torch.bool)
    answer = torch.zeros(3, 3, 2)
    answer[0, 0], answer[1, 1, 0], answer[2, 2, 0] = 0.9, 0.6, 0.4
    errors = answering(ArraySpec((3, 3, 2), "bool", "planes"), planes, answer)
    assert errors["wrong/x"]["open"].tolist() == [2, 2]
    assert errors["mse/x"]["open"][0].item() == pytest.approx((2 * 0.81 + 0.36 + 0.16) / 18)


def test_symbols_are_right_or_wrong_whatever_their_numbers():
    symbols = torch.zeros(2, 2, 2, dtype=torch.uint8)
    answer = symbols.clone().long()
    answer[0, 0, 1] = 5
    errors = answering(ArraySpec((2, 2, 2), "uint8", "symbols", (9, 9)), symbols, answer)
    assert errors["mse/x"]["open"][0].item() == 1 / 8
    assert errors["wrong/x"]["open"][0].item() == 1
    assert errors["wrong/x"]["mean"][0].item() == 0
