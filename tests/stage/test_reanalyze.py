from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from unrolls import LENGTH, learner, windows

from worldmodels.core.errors import ConfigError, WorkerError
from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng
from worldmodels.data.replay import Replay
from worldmodels.data.sampler import Uniform
from worldmodels.env.dummy import Dummy
from worldmodels.policy.searching import POLICY, VALUE
from worldmodels.stage.muzero import MuZero
from worldmodels.stage.reanalyze import Again, Reanalyze, shares


def test_what_is_searched_anew_with_the_same_weights_is_what_a_search_finds() -> None:
    stage, batch = learner(reanalyze=Reanalyze(ratio=0.5)), windows()
    stage.losses(batch)
    told = stage.beliefs()
    rows = told["known"].any(1)
    assert abs(int(rows.sum()) - len(batch.mask) / 2) <= 0.5
    assert told["known"][rows].equal(batch.mask[rows])
    policy = stage.policy()
    for b, t in told["known"].nonzero().tolist():
        obs = {"vector": batch.obs["vector"][b : b + 1, t].numpy()}
        _, _, found = policy.act(obs, np.ones(1, bool), None, explore=False, rng=Rng(0, "test"))
        np.testing.assert_allclose(told[POLICY][b, t], found[POLICY][0], atol=1e-5)
        np.testing.assert_allclose(told[VALUE][b, t], found[VALUE][0], atol=1e-5)
    elsewhere = ~told["known"]
    assert torch.equal(told[POLICY][elsewhere], batch.extras[POLICY][elsewhere])
    fresh = stage.targets(replace(batch, extras={name: told[name] for name in (POLICY, VALUE)}))
    torch.manual_seed(3)
    losses, _ = stage.losses(batch)
    torch.manual_seed(3)
    stage._again = Again(Reanalyze())
    again, _ = stage.losses(replace(batch, extras={name: told[name] for name in (POLICY, VALUE)}))
    assert all(torch.equal(losses[name], again[name]) for name in losses)
    assert bool((fresh.decided >= stage.targets(batch).decided).all())
    assert not stage.beliefs()


@torch.no_grad()
def test_it_is_the_slow_copy_that_searches_anew_where_there_is_one() -> None:
    stage, batch = learner(reanalyze=Reanalyze(ratio=1.0), target={"every": 100}), windows()
    moved = [p + 0.5 for p in stage.model.parameters()]
    stage.losses(batch)
    before = stage.beliefs()
    for p, new in zip(stage.model.parameters(), moved, strict=True):
        p.copy_(new)
    stage.losses(batch)
    assert torch.equal(stage.beliefs()[POLICY], before[POLICY])
    assert not torch.equal(before[POLICY], batch.extras[POLICY])


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_kept_of_a_step_is_the_last_search_from_it(tmp_path: Path, workers: int) -> None:
    """Through the real replay, with weights that change at each update."""
    world = Dummy(game="dot", size=3, zoom=0, time_limit=7)
    stage = learner(spec=world.spec(), reanalyze=Reanalyze(ratio=0.5, workers=workers))
    sampler = Uniform(length=LENGTH, batch=4, pad=True)
    plan = Replay(sampler, 2, piece=3, warmup=30, steps_per_update=2.0, updates=40, refresh=True)
    stream, newest, compared = plan.stream(world, stage, tmp_path, Rng(0)), {}, 0
    for update, batch in enumerate(stream):
        assert batch.key is not None
        rows = sampler.rows(stream.store, batch.key)
        for b, t in batch.mask.nonzero().tolist():
            if rows[b, t] in newest:
                policy, value = newest[rows[b, t]]
                np.testing.assert_allclose(batch.extras[POLICY][b, t], policy, atol=1e-5)
                np.testing.assert_allclose(batch.extras[VALUE][b, t], value, atol=1e-5)
                compared += 1
        chosen = batch.mask & stage._again.options.chosen(stage.rows(batch) + stage.updates)[:, None]
        obs = {"grid": batch.obs["grid"][:, :-1][chosen].numpy()}
        _, _, told = stage.policy().act(obs, np.ones(len(obs["grid"]), bool), None, explore=False, rng=Rng(0, "x"))
        newest |= dict(zip(rows[:, :-1][chosen], zip(told[POLICY], told[VALUE], strict=True), strict=True))
        stage.losses(batch)
        for p in stage.parameters():
            p.data.mul_(1.02 if update % 2 else 0.97)
    stream.close()
    stage.teardown("fit")
    assert compared > 100


@pytest.mark.parametrize("ratio", [0.25, 0.3, 1.0])
def test_every_part_of_a_batch_has_its_turn_to_be_searched_anew(ratio: float) -> None:
    """Rows of prioritised replay are in the order of age."""
    options, rows = Reanalyze(ratio=ratio), 12
    counts = torch.stack([options.chosen(torch.arange(rows) + update) for update in range(200)]).double()
    assert (counts.sum(1) - ratio * rows).abs().max() <= 1
    torch.testing.assert_close(counts.mean(0), torch.full((rows,), ratio).double(), atol=0.01, rtol=0)
    assert not Reanalyze(ratio=0.0).chosen(torch.arange(rows)).any()


@pytest.mark.parametrize("workers", [1, 3])
def test_other_processes_find_the_same_while_this_one_learns_from_what_was_known(workers: int) -> None:
    here, elsewhere = (learner(reanalyze=Reanalyze(0.5, simulations=5, workers=count)) for count in (0, workers))
    batch = windows()
    try:
        for _ in range(2):  # the second time with other weights
            torch.manual_seed(3)
            losses, _ = elsewhere.losses(batch)
            here.losses(batch)
            for name, value in elsewhere.beliefs().items():
                torch.testing.assert_close(value, here.beliefs()[name])
            like = learner_like(elsewhere)
            torch.manual_seed(3)
            plain, _ = like.losses(batch)
            assert all(torch.equal(losses[name], plain[name]) for name in losses)
            for stage in (here, elsewhere):
                for p in stage.parameters():
                    p.data.mul_(1.3)
    finally:
        elsewhere.teardown("fit")


def test_few_observations_are_shared_among_as_many_processes() -> None:
    obs = {"vector": torch.arange(10.0).view(5, 2)}
    assert [len(part["vector"]) for part in shares(obs, 2)] == [3, 2]
    assert [len(part["vector"]) for part in shares(obs, 8)] == [1] * 5
    assert torch.cat([part["vector"] for part in shares(obs, 3)]).equal(obs["vector"])


def learner_like(stage: MuZero) -> MuZero:
    made = learner()
    made.load_state_dict(stage.state_dict())
    return made


def again(stage: MuZero, batch: Batch) -> None:
    stage.losses(batch)
    stage.beliefs()


def test_a_search_process_that_dies_is_an_error_at_the_next_word_with_it() -> None:
    stage, batch = learner(reanalyze=Reanalyze(0.5, workers=2)), windows()
    again(stage, batch)
    _, searcher = stage._again._searchers
    os.kill(searcher._process.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"exit code -9[\s\S]*stage\.reanalyze\.workers=0"):
        again(stage, batch)
    assert time.monotonic() - began < 10


def test_what_is_found_anew_must_be_kept() -> None:
    stage, sampler = learner(reanalyze=Reanalyze(ratio=0.5)), Uniform(length=LENGTH, batch=4, pad=True)
    with pytest.raises(ConfigError, match=r"data\.refresh=true"):
        stage.demand(Replay(sampler))
    stage.demand(Replay(sampler, refresh=True))


@pytest.mark.parametrize(
    ("options", "how", "told"),
    [
        ({"ratio": 0.5}, {"keeps": True, "used": False}, r"not learned from(.|\n)*stage\.target=null"),
        ({"workers": 1}, {"keeps": False, "used": True}, "stage.reanalyze.workers=1.*nothing is searched again"),
        ({"simulations": 3}, {"keeps": False, "used": True}, "simulations=3.*nothing is searched again"),
        ({}, {"keeps": True, "used": True}, "data.refresh=true with stage.reanalyze.ratio=0"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: dict, how: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Reanalyze(**options).demand(**how)
    Reanalyze().demand(keeps=False, used=False)
    Reanalyze(ratio=0.5, workers=1).demand(keeps=True, used=True)
