"""Acting while learning, driven by Lightning: the ratio, the passes, and going on as if nothing had happened."""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as L
import torch
from torch import Tensor, nn

from worldmodels.core.errors import ConfigError, ResumeError
from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng
from worldmodels.data.driver import Driver
from worldmodels.data.module import Data, caveats, left_out
from worldmodels.data.recorder import Recorder
from worldmodels.data.replay import Replay
from worldmodels.data.rollout import Rollout
from worldmodels.data.sampler import Prioritised, Uniform
from worldmodels.data.segment import Segment
from worldmodels.data.store import EpisodeStore
from worldmodels.env.dummy import Dummy
from worldmodels.env.minatar import MinAtar
from worldmodels.policy.scripted import Random
from worldmodels.stage.stage import Group, Stage

DOT = Dummy(game="dot", zoom=0, time_limit=7)
BREAKOUT = MinAtar(game="breakout")


class Softmax:
    """Acts by a linear layer, remembers how often, and tells the logit of what it did."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer

    def initial(self, width):
        return {"acted": (np.zeros(width, np.int64), torch.zeros(width))}

    @torch.no_grad()
    def act(self, obs, first, memory, *, explore, rng):
        logits = self.layer(flat({k: torch.from_numpy(v) for k, v in obs.items()}))
        action = torch.multinomial(logits.softmax(-1), 1, generator=rng.torch)[:, 0]
        count, total = memory["acted"]
        count = np.where(first, 0, count) + 1
        told = {"logit": logits.gather(1, action[:, None])[:, 0].numpy() + count.astype(np.float32)}
        return action.numpy(), {"acted": (count, total + action)}, told


def flat(obs: dict[str, Tensor]) -> Tensor:
    (frames,) = obs.values()
    return frames.flatten(-3).float()


class Tiny(Stage):
    """Regresses what it did on what it saw; noisy, so that the global generator matters."""

    def __init__(self, spec):
        super().__init__(spec)
        (array,) = spec.obs.values()
        self.layer = nn.Linear(array.size, spec.action_size)
        self.prepared, self.surprise, self.seen = 0, None, []

    def losses(self, batch: Batch):
        logits = self.layer(flat(batch.obs)[:, :-1])
        miss = nn.functional.cross_entropy(logits.transpose(1, 2), batch.action, reduction="none")
        miss = (miss * batch.mask).mean(1) * (1 + 0.1 * torch.rand(()))
        self.surprise = miss.detach()
        self.seen.append(batch)
        weight = 1.0 if batch.weight is None else batch.weight
        return {"miss": (weight * miss).mean()}, {}

    def groups(self):
        return [Group("layer", self.layer, lr=1e-2)]

    def policy(self):
        return Softmax(self.layer)

    def prepare(self, rollout: Batch) -> Batch:
        self.prepared += 1
        return rollout

    def feedback(self):
        return self.surprise


class KeepNoise(L.Callback):
    """The global generator, as callback/rng.py keeps it."""

    def state_dict(self):
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict):
        self.state = state_dict["torch"]

    def on_train_start(self, trainer, pl_module):
        if hasattr(self, "state"):
            torch.set_rng_state(self.state)


def train(plan, recipe, folder: Path, updates: int, *, resume: bool = False, cut: int | None = None):
    """Train to `updates` in total, cutting a checkpoint every `cut` of them; the stage and its stream."""
    torch.manual_seed(1)
    stage, data = Tiny(plan.spec(recipe)), Data(plan, recipe, folder, Rng(0, "data"))
    keep = L.callbacks.ModelCheckpoint(
        folder / "checkpoints", save_last=True, save_top_k=0, every_n_train_steps=cut or updates,
        save_on_train_epoch_end=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            max_steps=updates, accelerator="cpu", logger=False, callbacks=[keep, KeepNoise()], num_sanity_val_steps=0,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(stage, data, ckpt_path=folder / "checkpoints" / "last.ckpt" if resume else None, weights_only=True)
    return stage, data


def recording(folder: Path, recipe, steps: int = 600) -> str:
    env = recipe.make(4)
    store = EpisodeStore.create(folder / "recording", env.spec)
    Recorder(Driver(env, Random(env.spec), Rng(3, "record")), store).record(steps=steps)
    store.close()
    return str(folder / "recording")


def plans(folder: Path, recipe):
    return {
        "replay": Replay(Uniform(4, 8, cross=True), 4, piece=3, warmup=40, steps_per_update=1.5, updates=5),
        "recent": Replay(Uniform(4, 8, capacity=50), 4, piece=3, warmup=40, steps_per_update=6.0, updates=5),
        "deflated": Replay(Uniform(4, 8), 4, piece=3, warmup=40, updates=5, compress=tuple(recipe.spec().obs)),
        "prioritised": Replay(Prioritised(4, 8, pad=True), 4, piece=3, warmup=40, steps_per_update=6.0, updates=5),
        "rollout": Rollout(4, steps=10, passes=2, minibatches=5),
        "segment": Segment(recording(folder, recipe), 4, 8, updates=5, cross=True, held_out=0.3),
    }


def assert_same(tree, other) -> None:
    assert type(tree) is type(other)
    if isinstance(tree, dict):
        assert tree.keys() == other.keys()
        for key in tree:
            assert_same(tree[key], other[key])
    elif isinstance(tree, list):
        assert len(tree) == len(other)
        for mine, its in zip(tree, other, strict=True):
            assert_same(mine, its)
    elif isinstance(tree, Tensor):
        assert torch.equal(tree, other)
    else:
        assert tree == other


@pytest.mark.parametrize("recipe", [DOT, BREAKOUT], ids=["dot", "breakout"])
@pytest.mark.parametrize("kind", ["replay", "recent", "deflated", "prioritised", "rollout", "segment"])
@pytest.mark.parametrize("cut", ["epoch", "midst"])
def test_stopped_and_resumed_equals_never_stopped(tmp_path, recipe, kind, cut):
    if cut == "midst" and kind == "rollout":
        pytest.skip("rollouts are saved between epochs")
    plan = plans(tmp_path, recipe)[kind]
    epoch = plan.passes * plan.minibatches if kind == "rollout" else plan.updates
    half = 2 * epoch if cut == "epoch" else epoch + 3
    whole, its = train(plan, recipe, tmp_path / "whole", 2 * half, cut=half)
    train(plan, recipe, tmp_path / "halves", half)[1].close()
    again, mine = train(plan, recipe, tmp_path / "halves", 2 * half, resume=True)
    assert_same(dict(whole.state_dict()), dict(again.state_dict()))
    assert_same(its.state_dict(), mine.state_dict())
    if its.stream.store is not None:
        np.testing.assert_array_equal(its.stream.store.episodes.return_, mine.stream.store.episodes.return_)
    its.close()
    mine.close()


def test_a_run_killed_before_its_first_checkpoint_starts_over_in_its_folder(tmp_path):
    plan = plans(tmp_path, DOT)["replay"]
    stage, data = train(plan, DOT, tmp_path / "run", 5)
    data.close()
    again, data = train(plan, DOT, tmp_path / "run", 5)
    data.close()
    assert_same(dict(stage.state_dict()), dict(again.state_dict()))


def test_a_checkpoint_without_its_store_is_refused(tmp_path):
    plan = plans(tmp_path, DOT)["replay"]
    train(plan, DOT, tmp_path / "run", 5)[1].close()
    (tmp_path / "run" / "episodes" / "index.jsonl").write_bytes(b"")
    with pytest.raises(ResumeError, match="different runs"):
        train(plan, DOT, tmp_path / "run", 10, resume=True)


@pytest.mark.parametrize("ratio", [0.25, 1.5, 4.0, 11.0])
def test_replay_keeps_the_ratio_of_acting_to_learning(tmp_path, ratio):
    plan = Replay(Uniform(2, 2), 4, warmup=40, steps_per_update=ratio, updates=40)
    stream = plan.stream(DOT, Tiny(DOT.spec()), tmp_path, Rng(0))
    taken = [stream.env_steps for _ in stream]
    stream.close()
    for update, steps in enumerate(taken, 1):
        assert 0 <= steps - 40 - update * ratio < 4


def test_a_replay_can_be_deflated_and_hands_out_the_same(tmp_path):
    (name,), found = DOT.spec().obs, []
    for compress in ((), (name,)):
        plan = Replay(Uniform(3, 8), 4, warmup=40, updates=5, compress=compress)
        stage, data = train(plan, DOT, tmp_path / str(len(compress)), 5)
        data.close()
        found.append(dict(stage.state_dict()))
    assert_same(*found)
    assert (tmp_path / "1" / "episodes" / f"obs.{name}.z").stat().st_size > 0
    with pytest.raises(ConfigError, match="compress="):
        train(replace(plan, compress=("smell",)), DOT, tmp_path / "x", 5)


def test_replay_acts_at_random_until_it_has_warmed_up(tmp_path):
    stage = Tiny(DOT.spec())
    stream = Replay(Uniform(2, 2), 4, warmup=80, steps_per_update=8.0, updates=20).stream(DOT, stage, tmp_path, Rng(0))
    list(stream)
    logits = np.concatenate([stream.store[number].extras["logit"] for number in range(len(stream.store))])
    stream.close()
    assert (logits == 0).sum() == 80  # only the learner's policy tells a logit
    assert (logits != 0).sum() > 100


def test_replay_tells_its_sampler_how_surprising_each_batch_was(tmp_path):
    stage = Tiny(DOT.spec())
    stream = Replay(Prioritised(2, 4, pad=True), 4, warmup=80, updates=3).stream(DOT, stage, tmp_path, Rng(0))
    told = []
    stream.sampler.update = lambda key, priority: told.append((key, priority))
    for batch in stream:
        stage.losses(batch)
    stream.snapshot()
    stream.snapshot()  # asks no second time
    stream.close()
    assert [key.tolist() for key, _ in told] == [batch.key.tolist() for batch in stage.seen]
    assert len({float(priority.sum()) for _, priority in told}) == 3


class Rating(Tiny):
    """Finds a window as surprising as its first step is late, and notes what it was asked about."""

    def __init__(self, spec):
        super().__init__(spec)
        self.asked = []

    def surprise_of(self, batch: Batch) -> Tensor:
        self.asked += [tuple(key) for key in batch.key.tolist()]
        return batch.key[:, 1].double()


def test_new_windows_are_rated_before_any_of_them_is_drawn_and_again_when_they_have_grown(tmp_path):
    stage, sampler = Rating(DOT.spec()), Prioritised(2, 64, alpha=1.0, epsilon=0.0, pad=True)
    plan = Replay(sampler, 4, piece=4, warmup=80, steps_per_update=8.0, updates=9, input_priorities=True)
    stage.demand(plan)
    stream = plan.stream(DOT, stage, tmp_path, Rng(0))
    for batch in stream:
        assert set(map(tuple, batch.key.tolist())) <= set(stage.asked)
        assert (batch.key[:, 1] > 0).all()  # no surprise, no draw
    lengths = [len(stream.store[number].reward) for number in range(len(stream.store))]
    stream.close()
    every = [(number, t) for number, length in enumerate(lengths) for t in range(length)]
    assert sorted(set(stage.asked)) == every
    asked = Counter(stage.asked)
    assert set(asked.values()) == {1, 2}, "a window of two steps grows once at most, with the piece after its own"
    assert all(asked[number, length - 1] == 1 for number, length in enumerate(lengths)), "the last one can not grow"


def test_who_can_not_rate_new_windows_is_not_asked_to():
    with pytest.raises(ConfigError, match=r"input_priorities=true(.|\n)*data/sampler=prioritised"):
        Replay(Uniform(2, 2), input_priorities=True)
    with pytest.raises(ConfigError, match=r"Tiny does not say how surprising(.|\n)*input_priorities=false"):
        Tiny(DOT.spec()).demand(Replay(Prioritised(2, 2), input_priorities=True))


def test_a_rollout_hands_out_every_transition_once_per_pass(tmp_path):
    stage = Tiny(BREAKOUT.spec())
    stream = Rollout(3, steps=20, passes=2, minibatches=6).stream(BREAKOUT, stage, tmp_path, Rng(0))
    live, rollouts = stream.live, []
    stream.live = lambda: rollouts.append(live()) or rollouts[-1]
    batches = list(stream)
    stream.close()
    assert len(batches) == len(stream) == 12
    assert stage.prepared == 1
    mask = rollouts[0].mask
    assert int(mask.sum()) == 60
    for some in (batches[:6], batches[6:]):
        for name in ("logit",):
            handed = torch.cat([batch.extras[name][:, 0] for batch in some])
            assert torch.equal(handed.sort().values, rollouts[0].extras[name][mask].sort().values)
        assert all(batch.mask.all() and batch.action.shape == (10, 1) for batch in some)
    assert not torch.equal(batches[0].extras["logit"], batches[6].extras["logit"])


def test_a_rollout_goes_on_where_the_last_one_stopped(tmp_path):
    stream = Rollout(2, steps=5, passes=1, minibatches=1).stream(DOT, Tiny(DOT.spec()), tmp_path, Rng(0))
    one, two = stream.live(), stream.live()
    stream.close()
    assert torch.equal(one.obs["grid"][:, -1], two.obs["grid"][:, 0])  # episodes of 7 steps, none ended in 5
    assert one.first[:, 0].all()
    assert not two.first[:, 0].any()
    assert two.first[:, 3].all()  # rows: steps 5 and 6, the final observation, then the next episode
    assert two.mask.tolist() == [[True, True, False, True, True, True]] * 2
    assert two.truncated.tolist() == [[False, True, False, False, False, False]] * 2


def test_segments_come_in_the_same_order_whoever_gathers_them(tmp_path):
    path = recording(tmp_path, DOT)
    streams = [
        Segment(path, 4, 8, updates=4, workers=workers).stream(None, Tiny(DOT.spec()), tmp_path, Rng(0))
        for workers in (0, 2)
    ]
    keys = [[batch.key.tolist() for _ in range(2) for batch in stream] for stream in streams]
    for stream in streams:
        stream.close()
    assert keys[0] == keys[1]
    assert len({str(key) for key in keys[0]}) == 8  # every batch of every epoch is another


def test_windows_are_the_same_in_a_process_that_got_them_by_mail(tmp_path):
    stream = Segment(recording(tmp_path, DOT), 4, 8).stream(None, Tiny(DOT.spec()), tmp_path, Rng(0))
    windows = stream.validation().dataset
    mailed = pickle.loads(pickle.dumps(windows))
    assert mailed[3].key.tolist() == windows[3].key.tolist()
    mailed.store.close()
    stream.close()


def test_held_out_episodes_are_never_learned_from(tmp_path):
    stream = Segment(recording(tmp_path, DOT), 4, 8, updates=30, held_out=0.3).stream(
        None, Tiny(DOT.spec()), tmp_path, Rng(0)
    )
    learned = {int(number) for batch in stream for number in batch.key[:, 0]}
    held = [batch.key.tolist() for batch in stream.validation()]
    again = [batch.key.tolist() for batch in stream.validation()]
    stream.close()
    assert held == again
    assert not learned & {number for keys in held for number, _ in keys}
    assert len(held) == 8


def test_a_recording_that_grew_is_told_to_a_run_that_goes_on(tmp_path: Path) -> None:
    folder = recording(tmp_path, DOT)
    plan = Segment(folder, 4, 8, cross=True)
    here = plan.stream(None, Tiny(DOT.spec()).learner(), tmp_path, Rng(0))
    kept = here.snapshot()
    here.close()
    assert not caveats(plan, kept)
    with EpisodeStore.open(folder, write=True) as store:
        Recorder(Driver(DOT.make(4), Random(store.spec), Rng(4, "more")), store).record(steps=900)
    (told,) = caveats(plan, kept)
    assert f"held {kept['steps']} steps and holds" in told
    assert not caveats(plan, None), "who begins takes what there is"


def test_a_missing_recording_says_how_to_make_one(tmp_path):
    for store in (None, str(tmp_path / "nowhere")):
        with pytest.raises(ConfigError, match=r"record\.py"):
            Segment(store).spec(None)


@pytest.mark.parametrize("plan", [Replay, Rollout])
def test_acting_without_an_env_says_what_is_missing(plan):
    made = plan(Uniform(2, 2)) if plan is Replay else plan()
    with pytest.raises(ConfigError, match="set env="):
        made.spec(None)


def test_it_is_said_that_whole_windows_leave_out_ends(tmp_path: Path) -> None:
    store = recording(tmp_path, DOT)
    for how, told in (({}, 1), ({"cross": True}, 0), ({"pad": True}, 0), ({"length": 1}, 0)):
        for key, plan in (
            ("data.sampler", Replay(Uniform(**{"length": 4, "batch": 8, **how}))),
            ("data", Segment(store, **{"length": 4, "batch": 8, **how})),
        ):
            remarks = left_out(plan)
            assert [f"{key}.cross=true" in remark for remark in remarks] == [True] * told
    assert not left_out(Rollout())
