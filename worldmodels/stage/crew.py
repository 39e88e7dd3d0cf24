"""Several processes that learn from shares of one batch: more hands for one learner."""

from __future__ import annotations

import copy
import multiprocessing as mp
import pickle
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from jaxtyping import Int64
from torch import Tensor, nn

from worldmodels.core.allocator import keep_freed_memory
from worldmodels.core.errors import ConfigError, WorkerError
from worldmodels.core.experience import Batch
from worldmodels.core.rng import Rng

Answer = tuple[Tensor | None, dict[str, Tensor]]  # feedback and beliefs of a share


@dataclass(frozen=True)
class Place:
    """Where hand `rank` of `count` works; hand 0 is the run itself."""

    rank: int
    count: int
    device: str
    meet: str  # an address that all of them know
    rng: Rng
    threads: int
    half: bool
    tells: bool
    alike: bool  # algorithms that give the same bits each time

    def join(self) -> None:
        backend = "nccl" if self.device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, init_method=self.meet, rank=self.rank, world_size=self.count)


class Crew:
    """`devices` processes, this one among them, that each work out the gradients of a share of every batch.

    Only this one acts, remembers, moves weights and is saved: at each update the others are handed their shares and the
    weights, and their gradients are averaged into this one's. So one seed gives one run, which resumes as exactly as
    with a single process, and to a loss that is a mean over the batch it makes no difference how many there are. What a
    loss compares within the batch it compares within a share; what it watches is that of the first share.
    """

    def __init__(self, devices: list[str], rng: Rng, *, half: bool = False, tells: bool = False) -> None:
        """half: matrix products in bfloat16. tells: beliefs are asked for."""
        self.devices, self.rng, self.half, self.tells = devices, rng, half, tells
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._asked, self._answers = False, list[Answer]()
        self._stop: Callable[[], None] | None = None

    def share(self, stage: Any, batch: Batch) -> Batch:
        """The first share of a batch; the others set to work on theirs."""
        rows, count = len(batch.mask), len(self.devices)
        if rows % count:
            raise ConfigError(
                f"a batch of {rows} for {count} processes",
                "as many windows for each",
                f"make it {rows + count - rows % count}, such as by data.sampler.batch, or set trainer.devices=1",
            )
        if self._stop is None:
            self._start(stage)
        self._collect()
        dealt = deal(rows, count)
        for rank, pipe in enumerate(self._pipes, 1):
            mine = batch.map(lambda x, at=dealt[rank]: x[at.to(x.device)].cpu())
            try:
                pipe.send_bytes(pickle.dumps((stage.updates, mine)))
            except OSError:
                self._fail(rank)
        self._with_all(lambda: _broadcast(stage))
        self._asked = True
        return batch.map(lambda x: x[dealt[0].to(x.device)])

    def gather(self, stage: nn.Module, loss: Tensor) -> Tensor:
        """After the backward pass: the mean of all gradients, and of all losses."""
        losses = [loss, *(torch.as_tensor(told).to(loss) for told in self._hear())]
        self._with_all(lambda: _reduce(stage, len(self.devices)))
        return torch.stack(losses).mean()

    def feedback(self, mine: Tensor | None) -> Tensor | None:
        """How surprising each window of the whole batch was, of which the stage says so of its share."""
        others = [told for told, _ in self._collect()]
        return None if mine is None else _whole([mine, *(x.to(mine) for x in others if x is not None)])

    def beliefs(self, mine: Mapping[str, Tensor]) -> dict[str, Tensor]:
        others = [told for _, told in self._collect()]
        return {name: _whole([x, *(told[name].to(x) for told in others)]) for name, x in mine.items()}

    def close(self) -> None:
        if self._stop is not None:
            self._stop()
            self._stop = None
            self._asked, self._answers = False, []

    def _hear(self) -> list[Any]:
        """A word from each of the others; if one has died, it is not waited for by those who would never know."""
        words = list[Any]()
        for rank, pipe in enumerate(self._pipes, 1):
            try:
                words.append(pickle.loads(pipe.recv_bytes()))
            except (EOFError, OSError):
                self._fail(rank)
        return words

    def _collect(self) -> list[Answer]:
        """What the others said of the last batch."""
        if self._asked:
            self._asked, self._answers = False, self._hear()
        return self._answers

    def _start(self, stage: nn.Module) -> None:
        folder = tempfile.mkdtemp()
        context: Any = mp.get_context("forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn")
        count, threads = len(self.devices), torch.get_num_threads()
        twin: Any = copy.deepcopy(stage).cpu()
        twin.crew = None
        alike = torch.are_deterministic_algorithms_enabled()
        places = [
            Place(
                rank,
                count,
                device,
                f"file://{folder}/meet",
                self.rng.child(rank),
                threads,
                self.half,
                self.tells,
                alike,
            )
            for rank, device in enumerate(self.devices)
        ]
        self._stop = Finalize(self, _stop, args=(self._pipes, self._processes, folder), exitpriority=10)
        for place in places[1:]:
            ours, theirs = context.Pipe()
            # Not a daemon: it may have a searcher of its own.
            process = context.Process(target=_work, args=(pickle.dumps((twin, place)), theirs), daemon=False)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self._hear()
        self._with_all(places[0].join)

    def _with_all(self, do: Callable[[], None]) -> None:
        """What all take part in; if one has died, the others are told of it by the connection."""
        try:
            do()
        except RuntimeError:
            for rank, process in enumerate(self._processes, 1):
                process.join(2)
                if process.exitcode is not None:
                    self._fail(rank)
            raise

    def _fail(self, rank: int) -> NoReturn:
        self._processes[rank - 1].join(2)
        code = self._processes[rank - 1].exitcode
        self.close()
        raise WorkerError(
            f"learner {rank} of {len(self.devices)} died with exit code {code} (a negative code is a signal); what it "
            "said is above. The same command goes on from the last checkpoint"
        )


def _work(words: bytes, pipe: Connection) -> None:
    """The life of another learner, until the pipe closes. What it raises goes to the error stream, and ends it."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    stage: Any
    place: Place
    stage, place = pickle.loads(words)
    torch.set_num_threads(place.threads)
    keep_freed_memory()
    torch.use_deterministic_algorithms(place.alike)
    if place.device.startswith("cuda"):
        torch.cuda.set_device(place.device)
    stage = stage.to(place.device).train()
    stage.share = place.rank
    try:
        pipe.send_bytes(pickle.dumps(None))
        place.join()
        while True:
            update, batch = pickle.loads(pipe.recv_bytes())
            _broadcast(stage)
            # Seeded anew, so that a run that goes on draws what it would have drawn.
            torch.manual_seed(place.rng.child(update).number)
            precision = torch.autocast(place.device.partition(":")[0], torch.bfloat16) if place.half else nullcontext()
            stage.counted = update
            with precision:
                loss = stage.training_step(batch.to(place.device), 0)["loss"]
            stage.zero_grad()
            loss.backward()
            pipe.send_bytes(pickle.dumps(float(loss.detach())))
            _reduce(stage, place.count)
            told, beliefs = stage.feedback(), stage.beliefs() if place.tells else {}
            told = None if told is None else told.detach().cpu()
            pipe.send_bytes(pickle.dumps((told, {name: x.detach().cpu() for name, x in beliefs.items()})))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        stage.teardown("fit")  # the owner is gone
        if dist.is_initialized():
            dist.destroy_process_group()


@cache
def deal(rows: int, count: int) -> Int64[Tensor, "N R"]:
    """Which rows of a batch each of `count` shares has, always the same ones.

    Mixed, for windows of prioritised replay come in the order of age, and those that are searched anew at equal steps.
    """
    mixed = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    return mixed.unflatten(0, (count, -1)).sort(1).values


def _whole(shares: list[Tensor]) -> Tensor:
    """What was dealt out, in the order of the batch."""
    every = torch.cat(shares)
    return torch.empty_like(every).index_copy_(0, deal(len(every), len(shares)).flatten().to(every.device), every)


@torch.no_grad()
def _broadcast(stage: nn.Module) -> None:
    """Everything that the first one knows, to the others."""
    for tensors in _by_dtype([*stage.parameters(), *stage.buffers()]):
        flat = torch.cat([x.reshape(-1) for x in tensors])
        flat = flat.to(torch.uint8) if flat.dtype is torch.bool else flat  # which gloo does not know
        dist.broadcast(flat, 0)
        if dist.get_rank():
            _write(tensors, flat)


@torch.no_grad()
def _reduce(stage: nn.Module, count: int) -> None:
    """Gradients to their mean in the first one. Where nothing has any, there is none."""
    for tensors in _by_dtype([p for p in stage.parameters() if p.requires_grad]):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in tensors])
        dist.reduce(flat, 0)
        if dist.get_rank() == 0:
            flat /= count
            parts = [part.view_as(p) for part, p in zip(flat.split([p.numel() for p in tensors]), tensors, strict=True)]
            for p, part in zip(tensors, parts, strict=True):
                if p.grad is not None or bool(part.any()):
                    p.grad = part


def _by_dtype(tensors: list[Tensor]) -> list[list[Tensor]]:
    kinds = {x.dtype: list[Tensor]() for x in tensors}
    for x in tensors:
        kinds[x.dtype].append(x)
    return list(kinds.values())


def _write(tensors: list[Tensor], flat: Tensor) -> None:
    for x, part in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
        x.copy_(part.view_as(x))


def _stop(pipes: list[Connection], processes: list[Any], folder: str) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
    pipes.clear()
    processes.clear()
    if dist.is_initialized():
        dist.destroy_process_group()
    shutil.rmtree(folder, ignore_errors=True)
