"""Signals in a job of submitit: training ends where it can go on, and whoever stood there before gets the signal."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as L

from worldmodels.callback.interrupt import Interrupt


@pytest.fixture
def before() -> Any:
    """A handler of USR2 as submitit sets it, with what it received; all handlers are as they were afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGUSR1)
    former = {number: signal.getsignal(number) for number in numbers}
    received = list[int]()
    signal.signal(signal.SIGUSR2, lambda number, frame: received.append(number))
    signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    yield received
    for number, handler in former.items():
        signal.signal(number, handler)


def trainer(*, divisible: bool = True) -> Any:
    made = Mock(spec=L.Trainer, should_stop=False, is_last_batch=False)
    made.datamodule = SimpleNamespace(stream=SimpleNamespace(divisible=divisible))
    return made


MODULE: Any = Mock(spec=L.LightningModule)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_requeue_signal_ends_training_and_is_not_handled_before(
    before: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    interrupt, fit = Interrupt(), trainer()
    interrupt.on_train_start(fit, MODULE)
    interrupt.on_train_batch_end(fit)
    assert not fit.should_stop
    send(signal.SIGUSR2)
    interrupt.on_train_batch_end(fit)
    assert fit.should_stop
    assert interrupt.received == signal.SIGUSR2
    assert before == []
    assert "once more" not in capsys.readouterr().err
    interrupt.on_train_end(fit, MODULE)
    send(signal.SIGUSR2)
    assert before == [signal.SIGUSR2], "outside of training it is submitit's again"


def test_a_rollout_is_finished_before_the_job_is_given_up(before: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    interrupt, fit = Interrupt(), trainer(divisible=False)
    interrupt.on_train_start(fit, MODULE)
    send(signal.SIGUSR2)
    interrupt.on_train_batch_end(fit)
    assert not fit.should_stop
    fit.is_last_batch = True
    interrupt.on_train_batch_end(fit)
    assert fit.should_stop
    interrupt.on_train_end(fit, MODULE)


def test_a_scheduler_that_repeats_itself_does_not_cut_the_saving_short(
    before: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    interrupt = Interrupt()
    interrupt.on_train_start(trainer(), MODULE)
    send(signal.SIGUSR2)
    send(signal.SIGTERM)
    send(signal.SIGTERM)
    assert interrupt.received == signal.SIGUSR2
    with pytest.raises(SystemExit):
        send(signal.SIGINT)
    interrupt.on_train_end(trainer(), MODULE)


def test_the_signal_is_the_one_that_submitit_was_told(before: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    interrupt = Interrupt()
    interrupt.on_train_start(trainer(), MODULE)
    send(signal.SIGUSR1)
    send(signal.SIGUSR2)
    assert interrupt.received == signal.SIGUSR1
    assert before == [signal.SIGUSR2]
    interrupt.on_train_end(trainer(), MODULE)


def test_without_a_scheduler_a_second_signal_ends_at_once_and_usr2_is_not_ours(
    before: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    interrupt = Interrupt()
    interrupt.on_train_start(trainer(), MODULE)
    send(signal.SIGUSR2)
    assert before == [signal.SIGUSR2]
    assert interrupt.received is None
    send(signal.SIGTERM)
    assert "once more to leave at once" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        send(signal.SIGTERM)
    assert left.value.code == 128 + signal.SIGTERM
    interrupt.on_train_end(trainer(), MODULE)
