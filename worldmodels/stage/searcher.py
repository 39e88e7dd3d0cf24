"""A process that searches while this one learns."""

from __future__ import annotations

import copy
import multiprocessing as mp
import pickle
import signal
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from worldmodels.core.errors import WorkerError


class Searcher:
    """Runs elsewhere `search`, a picklable function of observations that holds `model`, with the weights of now.

    One question at a time: `ask`, and later `answer`. The process is forked from a clean server, and ends when this one
    does, however that ends: its pipe closes. Signals meant for the run are left to this one.
    """

    def __init__(self, search: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], model: nn.Module) -> None:
        context: Any = mp.get_context("forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn")
        block = context.RawArray("f", sum(p.numel() for p in model.parameters()))
        self._weights = torch.frombuffer(block, dtype=torch.float32)
        self._pipe, theirs = context.Pipe()
        device = next(model.parameters()).device
        mine = copy.deepcopy(search, {id(model): (twin := copy.deepcopy(model).cpu().requires_grad_(False))})
        words = (mine, twin, block, theirs, torch.get_num_threads())
        self.asked = False  # and not answered yet
        self._device, self._process = device, context.Process(target=_work, args=words, daemon=True)
        self._process.start()
        theirs.close()
        self._stop = Finalize(self, _stop, args=(self._pipe, self._process), exitpriority=10)

    def ask(self, model: nn.Module, obs: Mapping[str, Tensor]) -> None:
        """Begin to search from observations (B, *), with the weights that the model has now."""
        self._weights.copy_(parameters_to_vector(model.parameters()).detach())
        try:
            self._pipe.send_bytes(pickle.dumps({name: x.cpu().numpy() for name, x in obs.items()}))
        except OSError:
            self._fail()
        self.asked = True

    def answer(self) -> dict[str, Tensor]:
        """What was found (B, *). Raises WorkerError at once if the process has died."""
        try:
            found = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self._fail()
        self.asked = False
        return {name: torch.from_numpy(value).to(self._device) for name, value in found.items()}

    def close(self) -> None:
        self._stop()

    def _fail(self) -> NoReturn:
        self._process.join(2)
        code = self._process.exitcode
        self.close()
        raise WorkerError(
            f"a process that searches anew died with exit code {code} (a negative code is a signal); what it said is "
            "above. Resume the run; or search in the learner's own process, with stage.reanalyze.workers=0 in a run of "
            "another name"
        )


def _work(
    search: Callable[[Any], dict[str, Tensor]], model: nn.Module, block: Any, pipe: Connection, threads: int
) -> None:
    """Its life, until the pipe closes; whatever it raises goes to the error stream, and ends it."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    torch.set_num_threads(threads)
    offset, weights = 0, torch.frombuffer(block, dtype=torch.float32)
    for p in model.parameters():
        p.data = weights[offset : offset + p.numel()].view_as(p)
        offset += p.numel()
    try:
        while True:
            obs = {name: torch.from_numpy(x) for name, x in pickle.loads(pipe.recv_bytes()).items()}
            pipe.send_bytes(pickle.dumps({name: x.numpy() for name, x in search(obs).items()}))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the owner is gone


def _stop(pipe: Connection, process: Any) -> None:
    pipe.close()
    process.join(2)
    if process.is_alive():
        process.kill()
        process.join()
