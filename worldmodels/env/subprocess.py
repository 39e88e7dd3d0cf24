"""N worlds as one, spread over subprocesses that write into shared memory."""

from __future__ import annotations

import multiprocessing as mp
import pickle
import signal
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, NoReturn

import numpy as np

from worldmodels.core.errors import WorkerError
from worldmodels.core.experience import Obs, Step
from worldmodels.core.protocols import World
from worldmodels.core.spec import EnvSpec
from worldmodels.env.vector import Buffers, SerialEnv, check_lanes, check_restore, check_resumable

# One byte opens each message. Steps carry nothing more: actions and answers lie in shared memory.
_STEP, _RESET, _SNAPSHOT, _RESTORE, _CLOSE = b"s", b"r", b"n", b"t", b"c"
_QUIET, _ENDED, _RESULT, _ERROR = b"0", b"1", b"=", b"!"


class SubprocessEnv:
    """The worlds of a `SerialEnv`, in `workers` processes, with the same results bit for bit.

    Meets `core.protocols.Env`. Workers are forked from a clean server process, never from this one, so threads and
    CUDA here do no harm. They end when this process does, however it ends: their pipe closes. Signals meant for the
    run (Ctrl-C, preemption) are left to this process, which may still need a snapshot.
    """

    def __init__(self, make_world: Callable[[int], World], spec: EnvSpec, width: int, workers: int) -> None:
        self.spec, self.width = spec, width
        memory = _Memory(spec, width)
        self._action, self._buffers = memory.views()
        edges = [width * k // workers for k in range(workers + 1)]
        self._parts = [slice(low, high) for low, high in pairwise(edges)]
        context = _context()
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._stop = Finalize(self, _stop, args=(self._pipes, self._processes), exitpriority=10)
        for part in self._parts:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(make_world, memory, part, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        answers = [self._receive(k) for k in range(workers)]
        self.resumable = all(answers)

    def reset(self, seeds: Sequence[int]) -> Obs:
        check_lanes("seeds", len(seeds), self.width)
        self._ask(_RESET, [[int(seed) for seed in seeds[part]] for part in self._parts])
        return self._buffers.obs

    def step(self, action: np.ndarray) -> Step:
        check_lanes("actions", len(action), self.width)
        self._action[...] = action
        ended = self._exchange([_STEP] * len(self._parts))
        if any(ended):
            for part, over in zip(self._parts, ended, strict=True):
                if not over:  # its worker had no reason to fill in what was seen on arrival
                    self._buffers.lanes(part).keep_arrivals()
        return self._buffers.step(any(ended))

    def snapshot(self) -> dict[str, Any]:
        """The same as a `SerialEnv`'s, so that either can restore it, with any number of workers."""
        check_resumable(self.resumable, self.spec)
        answers = self._ask(_SNAPSHOT, [None] * len(self._parts))
        return {"worlds": [world for answer in answers for world in answer["worlds"]]}

    def restore(self, state: dict[str, Any]) -> None:
        check_restore(len(state["worlds"]), self.width)
        self._ask(_RESTORE, [{"worlds": state["worlds"][part]} for part in self._parts])

    def close(self) -> None:
        self._stop()

    def _ask(self, verb: bytes, payloads: Sequence[Any]) -> list[Any]:
        return self._exchange([verb + pickle.dumps(payload) for payload in payloads])

    def _exchange(self, messages: Sequence[bytes]) -> list[Any]:
        """Send each worker its message, then wait for all answers."""
        if not self._pipes:
            raise WorkerError(f"the env of {self.spec.name} is closed; make a new one")
        for k, message in enumerate(messages):
            try:
                self._pipes[k].send_bytes(message)
            except OSError:
                self._fail(k, self._last_words(k))
        return [self._receive(k) for k in range(len(messages))]

    def _receive(self, k: int) -> Any:
        try:
            answer = self._pipes[k].recv_bytes()
        except (EOFError, OSError):
            self._fail(k, self._last_words(k))
        kind, rest = answer[:1], answer[1:]
        if kind == _ERROR:
            self._fail(k, pickle.loads(rest))
        return pickle.loads(rest) if kind == _RESULT else kind == _ENDED

    def _last_words(self, k: int) -> str:
        self._processes[k].join(2)
        code = self._processes[k].exitcode
        return f"it died with exit code {code} and no traceback (a negative code is a signal)"

    def _fail(self, k: int, why: str) -> NoReturn:
        part = self._parts[k]
        worlds = f"worlds {part.start} to {part.stop - 1} of {self.spec.name}"
        self.close()
        raise WorkerError(f"worker {k} of {len(self._parts)} ({worlds}) failed:\n{why}")


class _Memory:
    """Shared memory for the actions and buffers of an env; picklable into a starting process.

    It has no name in the file system, so nothing is left behind even by SIGKILL.
    """

    def __init__(self, spec: EnvSpec, width: int) -> None:
        self.spec, self.width = spec, width
        sizes: list[int] = []
        self._lay_out(lambda shape, dtype: sizes.append(_padded(shape, dtype)) or np.zeros(shape, dtype))
        self.block = _context().RawArray("B", sum(sizes))

    def views(self) -> tuple[np.ndarray, Buffers]:
        """Actions (N,) or (N, A), and buffers, all in the shared block."""
        offset = 0

        def allocate(shape: tuple[int, ...], dtype: str) -> np.ndarray:
            nonlocal offset
            view = np.ndarray(shape, dtype, buffer=self.block, offset=offset)
            offset += _padded(shape, dtype)
            return view

        return self._lay_out(allocate)

    def _lay_out(self, allocate: Callable[[tuple[int, ...], str], np.ndarray]) -> tuple[np.ndarray, Buffers]:
        action = allocate((self.width, *self.spec.action.shape), self.spec.action.dtype)
        return action, Buffers.make(self.spec, self.width, allocate)


def _padded(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array, rounded up to a cache line."""
    return -(-int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize // 64) * 64


def _context() -> Any:
    """A way to start processes that never copies this one; the server imports torch once for all workers."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _work(make_world: Callable[[int], World], memory: _Memory, part: slice, pipe: Connection) -> None:
    """A worker's life: a serial env over its part of the shared memory, until the pipe closes."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        action, buffers = memory.views()
        env = SerialEnv(make_world, part.stop - part.start, buffers.lanes(part), part.start)
        pipe.send_bytes(_RESULT + pickle.dumps(env.resumable))
        _serve(env, action[part], pipe)
        env.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the owner is gone
    except BaseException:  # noqa: BLE001 whatever it was, the owner must hear of it
        pipe.send_bytes(_ERROR + pickle.dumps(traceback.format_exc()))


def _serve(env: SerialEnv, action: np.ndarray, pipe: Connection) -> None:
    while (message := pipe.recv_bytes()) != _CLOSE:
        if message == _STEP:
            pipe.send_bytes(_ENDED if env.advance(action) else _QUIET)
            continue
        verb, payload, result = message[:1], pickle.loads(message[1:]), None
        if verb == _RESET:
            env.reset(payload)
        elif verb == _SNAPSHOT:
            result = env.snapshot()
        elif verb == _RESTORE:
            env.restore(payload)
        pipe.send_bytes(_RESULT + pickle.dumps(result))


def _stop(pipes: list[Connection], processes: list[Any]) -> None:
    """End the workers: politely, then not."""
    for pipe in pipes:
        try:
            pipe.send_bytes(_CLOSE)
        except OSError:
            continue  # it is dead already
        finally:
            pipe.close()
    for process in processes:
        process.join(2)
        if process.is_alive():
            process.kill()
            process.join()
    pipes.clear()
    processes.clear()
