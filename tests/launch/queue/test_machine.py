"""The state machine of the queue, with a fake clock, fake GPUs and fake jobs."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fake import Job, World, gpus, run

from worldmodels.launch.queue.nouns import Device, Outcome, Rules


def outcomes(events: list) -> dict[int, Outcome]:
    return {event.job: event.outcome for event in events if event.outcome is not None}


def test_placement_equals_a_table_written_by_hand() -> None:
    """Four GPUs: 1 is full, 2 is half used; least used memory first, then as listed."""
    world = World([Job(lasts=10 + job, gb=5) for job in range(6)], gpus(4), others={"1": 39.0, "2": 20.0})
    run(world, world.machine(Rules(max_used_gb=30, release_wait_s=0)))
    assert world.starts == [
        (0, 0, ("0",)),
        (0, 1, ("3",)),
        (0, 2, ("2",)),
        (10, 3, ("0",)),
        (11, 4, ("3",)),
        (12, 5, ("2",)),
    ]


def test_a_gpu_above_the_threshold_is_never_used() -> None:
    world = World([Job() for _ in range(4)], gpus(2), others={"0": 30.1})
    run(world, world.machine(Rules(max_used_gb=30)))
    assert {names for _, _, names in world.starts} == {("1",)}


def test_a_gpu_that_can_not_be_read_is_not_used_until_it_can() -> None:
    world = World([Job(lasts=5) for _ in range(3)], gpus(1), blind={"0"})
    machine = world.machine(Rules(release_wait_s=0))
    run(world, machine, until=60)
    assert not world.starts
    world.blind = set()
    events = run(world, machine)
    assert list(outcomes(events).values()) == [Outcome.DONE] * 3


def test_a_probe_that_fails_midway_does_not_touch_what_runs() -> None:
    world = World([Job(lasts=20), Job()], gpus(1, slots=2))
    machine = world.machine(Rules(reserve_s=5))
    machine.step()
    world.blind = {"0"}
    world.now = 10.0
    machine.step()
    assert len(world.starts) == 1
    assert not world.stops
    world.blind = set()
    assert outcomes(run(world, machine)) == {0: Outcome.DONE, 1: Outcome.DONE}


def test_a_young_job_reserves_its_memory_before_it_can_be_seen() -> None:
    """Two jobs of 10 GiB and a GPU with 15 GiB free; a job's memory shows after 20 s only."""
    world = World([Job(lasts=60, gb=10, slow=20), Job(lasts=60, gb=10, slow=20)], gpus(1, slots=2), others={"0": 25.0})
    run(world, world.machine(Rules(reserve_gb=10, reserve_s=30, release_wait_s=0)))
    assert [when for when, _, _ in world.starts] == [0, 60]


def test_young_jobs_share_a_gpu_that_has_room_for_all_of_them() -> None:
    world = World([Job(gb=10, slow=20, lasts=60) for _ in range(3)], gpus(1, slots=3))
    run(world, world.machine(Rules(reserve_gb=10, reserve_s=30)))
    assert [when for when, _, _ in world.starts] == [0, 0, 0]


def test_without_a_known_size_a_young_job_is_alone_until_its_memory_shows() -> None:
    world = World([Job(gb=25, slow=20, lasts=100), Job(gb=25, slow=20, lasts=100)], gpus(1, slots=2))
    run(world, world.machine(Rules(max_used_gb=20, reserve_s=30, release_wait_s=0)))
    assert [when for when, _, _ in world.starts] == [0, 100]


def test_a_place_is_released_when_the_memory_is_back_and_others_go_on_meanwhile() -> None:
    world = World([Job(lasts=10, gb=20), Job(lasts=40, gb=20), Job(gb=20), Job()], gpus(2), keeps=7)
    run(world, world.machine(Rules(max_used_gb=30, poll_s=1, release_wait_s=30)))
    assert [round(when) for when, _, _ in world.starts] == [0, 0, 17, 34]


def test_a_place_opens_after_the_longest_wait_even_if_the_memory_stays_used() -> None:
    world = World([Job(lasts=10, gb=20), Job(lasts=10)], gpus(1), keeps=1e9)
    run(world, world.machine(Rules(poll_s=1, release_wait_s=30)))
    assert [when for when, _, _ in world.starts] == [0, 40]


def test_several_gpus_for_one_job() -> None:
    world = World([Job(), Job(), Job()], gpus(5))
    run(world, world.machine(Rules(gpus_per_job=2)))
    assert [(when, names) for when, _, names in world.starts[:2]] == [(0, ("0", "1")), (0, ("2", "3"))]
    assert world.starts[2][0] == 10


def test_a_job_over_its_time_is_terminated_and_then_killed() -> None:
    world = World([Job(lasts=1e9, deaf=True), Job(lasts=1e9)], gpus(2))
    events = run(world, world.machine(Rules(job_timeout_s=60, grace_s=5)))
    assert outcomes(events) == {0: Outcome.TIMED_OUT, 1: Outcome.TIMED_OUT}
    assert world.stops == [(60, 0, False), (60, 1, False), (65, 0, True)]
    assert all("timed out after 60 s" in event.text for event in events if event.outcome)


def test_a_job_that_finishes_at_term_is_done() -> None:
    world = World([Job(lasts=61)], gpus(1))
    machine = world.machine(Rules(job_timeout_s=60))
    machine.step()
    world.jobs[0].deaf = True
    assert outcomes(run(world, machine)) == {0: Outcome.DONE}


@pytest.mark.parametrize(("text", "starts"), [("RuntimeError: CUDA error: out of memory", 3), ("ValueError: no", 1)])
def test_a_failure_is_tried_again_if_its_words_say_so(text: str, starts: int) -> None:
    world = World([Job(code=1, text=text)], gpus(1))
    events = run(world, world.machine(Rules(retries=2)))
    assert len(world.starts) == starts
    assert outcomes(events) == {0: Outcome.FAILED}


def test_a_second_attempt_that_succeeds_is_done() -> None:
    world = World([Job(code=1, text="CUDA out of memory", healed=True)], gpus(1))
    events = run(world, world.machine(Rules(retries=1)))
    assert [event.what for event in events] == ["started", "retrying", "started", "ended"]
    assert outcomes(events) == {0: Outcome.DONE}


def test_fail_fast_starts_nothing_new_and_lets_the_others_finish() -> None:
    world = World([Job(code=1, lasts=1), Job(lasts=50), Job(), Job()], gpus(2))
    events = run(world, world.machine(Rules(fail_fast=True)))
    assert outcomes(events) == {0: Outcome.FAILED, 1: Outcome.DONE, 2: Outcome.CANCELLED, 3: Outcome.CANCELLED}


def test_an_interrupt_stops_everything_and_a_second_one_at_once() -> None:
    world = World([Job(lasts=1e9, deaf=True), Job(lasts=1e9), Job()], gpus(2))
    machine = world.machine(Rules(grace_s=1000))
    machine.step()
    machine.interrupt()
    events = machine.step()
    assert world.stops == [(0, 0, False), (0, 1, False)]
    world.now = 1.0
    events += machine.step()
    machine.interrupt()
    events += run(world, machine)
    assert world.stops[2:] == [(1, 0, True)]
    assert outcomes(events) == {2: Outcome.CANCELLED, 1: Outcome.INTERRUPTED, 0: Outcome.INTERRUPTED}


def test_an_adopted_job_holds_its_place_and_its_time() -> None:
    world = World([Job(lasts=30), Job()], gpus(1))
    machine = world.machine(Rules(job_timeout_s=100, release_wait_s=0), known=[0])
    world.live[0] = (-90.0, 1e9, ["0"])
    machine.adopt(0, ["0"], -90.0, 1)
    events = run(world, machine)
    assert [(round(when), job) for when, job, _ in world.starts] == [(10, 1)]
    assert outcomes(events) == {0: Outcome.TIMED_OUT, 1: Outcome.DONE}


def test_an_ending_is_told_before_anything_new_starts() -> None:
    """It is on the disk, then, when the next run can be seen, whenever the queue is killed."""
    world = World([Job(lasts=10), Job()], gpus(1))
    machine = world.machine(Rules(release_wait_s=0))
    machine.step()
    world.now = 10.0
    assert [event.what for event in machine.step()] == ["ended"]
    assert len(world.starts) == 1
    assert machine.wake() == 10.0
    assert [event.what for event in machine.step()] == ["started"]


def test_waiting_jobs_cost_nothing_while_all_places_are_taken() -> None:
    world = World([Job(lasts=100) for _ in range(50)], gpus(2))
    machine = world.machine(Rules())
    machine.step()
    assert machine.wake() is None, "only an ending can change anything"


JOBS = st.lists(
    st.builds(
        Job,
        lasts=st.floats(0.1, 200),
        gb=st.floats(0, 12),
        slow=st.floats(0, 25),
        code=st.sampled_from([0, 0, 1]),
        text=st.sampled_from(["", "out of memory"]),
        deaf=st.booleans(),
        healed=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
RULES = st.fixed_dictionaries(
    {
        "gpus_per_job": st.integers(1, 2),
        "max_used_gb": st.sampled_from([None, 25.0]),
        "reserve_gb": st.sampled_from([None, 12.0]),
        "release_wait_s": st.sampled_from([0.0, 20.0]),
        "job_timeout_s": st.sampled_from([None, 50.0]),
        "retries": st.integers(0, 2),
        "fail_fast": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None)
@given(jobs=JOBS, chosen=RULES, slots=st.integers(1, 3), keeps=st.sampled_from([0.0, 5.0]))
def test_whatever_the_jobs_do_the_rules_hold(jobs: list[Job], chosen: dict, slots: int, keeps: float) -> None:
    rules = Rules(**chosen)
    world = World(jobs, gpus(3, slots), total=40.0, others={"2": 10.0}, keeps=keeps)
    machine = world.machine(rules)
    events = []
    while not machine.finished:
        events += machine.step()
        used = Counter(name for _, _, names in world.live.values() for name in names)
        assert all(count <= slots for count in used.values())
        for device in world.devices:
            young = [began for began, _, names in world.live.values() if device.name in names]
            young = [began for began in young if world.now - began < rules.reserve_s]
            if rules.reserve_gb is None:
                assert len(young) <= 1
            else:  # whatever is not yet seen is at most what is reserved, so nothing can burst
                assert world.used(device.name) <= world.total
        if not machine.finished:
            world.advance(machine)
    ends = [event.job for event in events if event.outcome is not None]
    assert sorted(ends) == list(range(len(jobs))), "each job ends exactly once"
    assert all(len(set(names)) == rules.gpus_per_job for _, _, names in world.starts)
    starts = Counter(job for _, job, _ in world.starts)
    assert all(count <= 1 + rules.retries for count in starts.values())
    assert not world.live


def test_cpu_slots_need_no_probe() -> None:
    world = World([Job(lasts=1) for _ in range(12)], [Device("cpu", 3)])
    run(world, world.machine(Rules()))
    assert world.now == pytest.approx(4, abs=0.1)
