"""What the Trainer costs per update: a bare loop against our runner with 20 metrics, CPU time of one thread.

    python benchmarks/trainer_overhead.py [--updates 3000] [--rounds 3]

Both loops do the same: a batch, 20 metrics, gradient clipping, AdamW. The bare loop adds its metrics up in a list and
averages them every 100 updates. Ours has every callback of conf/callback/default.yaml that runs in each update. For
comparison, the same Trainer with Lightning's own `self.log` of 20 metrics. The target is 450 us over the bare loop.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as L
import torch
from torch import Tensor, nn

from worldmodels.callback.budget import Budget
from worldmodels.callback.checkpoint import Checkpoint
from worldmodels.callback.guard import Guard
from worldmodels.callback.interrupt import Interrupt
from worldmodels.callback.meter import Meter
from worldmodels.callback.profiler import Silent
from worldmodels.callback.progress import ProgressLine
from worldmodels.callback.rng import GlobalRng
from worldmodels.callback.watcher import spare
from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec, EnvSpec
from worldmodels.launch.train import _quiet
from worldmodels.stage.stage import Group, Stage

METRICS = 20
TARGET = 450.0
SPEC = EnvSpec("none", {"vector": ArraySpec((8,), "float32")}, 2)


def batch() -> Batch:
    shape = (16, 1)
    flags = [torch.zeros(shape, dtype=torch.bool) for _ in range(2)]
    return Batch(
        {"vector": torch.randn(16, 2, 8)},
        torch.zeros(shape, dtype=torch.int64),
        torch.randn(shape),
        *flags,
        first=torch.zeros(16, 2, dtype=torch.bool),
        mask=torch.ones(shape, dtype=torch.bool),
    )


class Small(Stage):
    """A small network with 20 metrics: what remains is overhead. `chatty` logs them as Lightning would."""

    def __init__(self, chatty: bool = False) -> None:
        super().__init__(SPEC)
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
        self.chatty = chatty

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        loss = (self.net(batch.obs["vector"][:, 0]) - batch.reward).square().mean()
        return {"value": loss}, {f"metric/{i}": loss.detach() for i in range(METRICS - 2)}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        told = super().training_step(batch, batch_idx)
        if self.chatty:
            for name, value in told["metrics"].items():
                self.log(name, value)
        return told

    def groups(self) -> list[Group]:
        return [Group("net", self.net, 1e-3)]


class Same:
    """A stream that hands out one batch again and again."""

    env_steps, episodes, store, divisible = 0, 0, None, True

    def __init__(self, updates: int) -> None:
        self.updates, self.batch = updates, batch()

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.updates):
            yield self.batch

    def drain(self) -> list[tuple[float, int]]:
        return []


class SameData(L.LightningDataModule):
    def __init__(self, updates: int) -> None:
        super().__init__()
        self.stream, self.recipe = Same(updates), None

    def train_dataloader(self) -> Same:
        return self.stream

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        return batch.to(device)


def bare(updates: int) -> None:
    stage, stream = Small(), Same(updates)
    optimizer = stage.configure_optimizers()
    waiting: dict[str, list[Tensor]] = {}
    for number, each in enumerate(stream, 1):
        told = stage.training_step(each, number)
        optimizer.zero_grad()
        told["loss"].backward()
        stage.configure_gradient_clipping(optimizer)
        optimizer.step()
        for name, value in told["metrics"].items():
            waiting.setdefault(name, []).append(value)
        if number % 100 == 0:
            {name: float(torch.stack(values).mean()) for name, values in waiting.items()}
            waiting = {}


def trained(updates: int, *, ours: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        callbacks: list[L.Callback] = [
            Guard(str(folder / "nan_batch.pt")),
            GlobalRng(),
            Budget(updates, None, None),
            Interrupt(),
            Meter(str(folder / "metrics.csv"), 100),
            ProgressLine(1e9),
            Checkpoint(str(folder), 1, 1e9),
        ]
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=-1 if ours else 1,
            callbacks=callbacks if ours else [],
            logger=False,
            enable_checkpointing=ours,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            profiler=Silent() if ours else None,
        )
        stage = Small(chatty=not ours)
        if ours:
            spare(stage)
        trainer.fit(stage, datamodule=SameData(updates))


def seconds(loop: Any, updates: int) -> float:
    """CPU seconds of one update: those of a long run less those of a short one, so that set-up cancels."""
    short, total = updates // 10, []
    for count in (short, updates):
        began = time.process_time()
        loop(count)
        total.append(time.process_time() - began)
    return (total[1] - total[0]) / (updates - short)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="You defined a `validation_step`")
    _quiet()
    loops = {
        "bare loop": bare,
        "Trainer, our callbacks": lambda n: trained(n, ours=True),
        "Trainer, self.log": lambda n: trained(n, ours=False),
    }
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.rounds):
        for name, loop in loops.items():
            found[name].append(1e6 * seconds(loop, options.updates))
    base = statistics.median(found["bare loop"])
    print(f"{'loop':<24}{'us/update':>12}{'over bare':>12}   ({METRICS} metrics, median of {options.rounds}, CPU time)")
    for name, times in found.items():
        middle = statistics.median(times)
        print(f"{name:<24}{middle:>12.0f}{middle - base:>12.0f}")
    over = statistics.median(found["Trainer, our callbacks"]) - base
    print(f"target {TARGET:.0f} us: {'met' if over <= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
