"""Experience into a store, up to a requested amount."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worldmodels.core.errors import ConfigError
from worldmodels.data.block import Block
from worldmodels.data.driver import Driver
from worldmodels.data.interrupt import Deferred
from worldmodels.data.store import EpisodeStore

Progress = Callable[[int, int], None]  # done, wanted
_PROGRESS_SECONDS = 0.1
_LARGE = 4 << 20  # bytes of a block from which on it is written while the next one is lived


@dataclass(frozen=True)
class Summary:
    """What a store holds after recording, and what this call added to it."""

    env_steps: int
    episodes: int
    added_steps: int
    added_episodes: int
    mean_return: float | None  # of the episodes that ended in this call and were kept
    seconds: float


class Recorder:
    """Drives worlds and stores what they live through.

    Amounts are totals of the store, so asking again for the same amount does nothing and asking for more goes on. What
    is still open at the end is stored as episodes that are not over: the same driver continues them, another process
    begins new ones with numbers and randomness of their own. Ctrl-C waits for the step to end and stores what is open,
    too; a second one does not wait. A process that is killed
    loses the open block, and a large one before it that is still being written: at most twice `piece` steps of each
    world.
    """

    def __init__(self, driver: Driver, store: EpisodeStore) -> None:
        self.driver, self.store = driver, store
        if not driver.started:
            driver.begin(store.next_number)

    def record(
        self, *, steps: int | None = None, episodes: int | None = None, progress: Progress | None = None
    ) -> Summary:
        """Record until the store holds that many env steps (at most width - 1 more), or exactly that many episodes.

        Episodes count in the order in which they begin, whether they end early or late, so that short ones are not
        over-represented.
        """
        since, steps_before, episodes_before = time.monotonic(), self.store.steps, len(self.store)
        self.driver.drain()
        if steps is not None and episodes is None:
            self._record_steps(steps, progress)
            returns = [total for total, _ in self.driver.drain()]
        elif episodes is not None and steps is None:
            returns = self._record_episodes(episodes, progress)
            self.driver.drain()
        else:
            raise ConfigError(f"steps={steps} and episodes={episodes}", "one of the two", "set one, leave the other")
        self.store.flush()
        return Summary(
            env_steps=self.store.steps,
            episodes=len(self.store),
            added_steps=self.store.steps - steps_before,
            added_episodes=len(self.store) - episodes_before,
            mean_return=sum(returns) / len(returns) if returns else None,
            seconds=time.monotonic() - since,
        )

    def _record_steps(self, total: int, progress: Progress | None) -> None:
        driver = self.driver
        missing = total - self.store.steps - driver.open
        tell = _Ticker(progress, total)
        with Deferred() as interrupt, _Writer(self.store, driver, interrupt) as writer:
            try:
                for left in range(-(-missing // driver.width), 0, -1):
                    interrupt.check()
                    blocks = driver.step()
                    if blocks:
                        writer.add(blocks)
                        tell(total - (left - 1) * driver.width)
            finally:
                writer.add(driver.flush())
        tell.last(total)

    def _record_episodes(self, total: int, progress: Progress | None) -> list[float]:
        """Their returns."""
        before, returns = len(self.store), list[float]()
        left = total - before
        if left <= 0:
            return returns
        self.driver.begin(self.store.next_number)
        limit, tell = self.driver.next_number + left, _Ticker(progress, total)
        with Deferred() as interrupt, _Writer(self.store, self.driver, interrupt, limit) as writer:
            try:
                while len(returns) < left:
                    interrupt.check()
                    blocks = self.driver.step()
                    if blocks:
                        for block in blocks:
                            returns += _returns(block, limit)
                        writer.add(blocks)
                        tell(before + len(returns))
            finally:
                writer.add(self.driver.flush())
        self.driver.begin(self.store.next_number)  # drops what began after the last one wanted
        tell.last(total)
        return returns


def _returns(block: Block, limit: int) -> list[float]:
    """Of the episodes numbered below `limit` that ended in it."""
    return block.table.return_[block.table.ended & (block.table.number < limit)].tolist()


class _Writer:
    """Gives blocks to the store; no interrupt comes in between.

    A large one is written in a thread of its own while the next is lived: checksums and writing need no interpreter.
    The store is the thread's alone until `_wait`. A small one is written at once, because the other core would have to
    fetch it first, and the thread would seldom get its turn. Of episodes from `limit` on nothing is kept.
    """

    def __init__(self, store: EpisodeStore, driver: Driver, interrupt: Deferred, limit: int | None = None) -> None:
        self.store, self.driver, self.interrupt, self.limit = store, driver, interrupt, limit
        self.thread = ThreadPoolExecutor(1, "recorder")
        self.pending: tuple[Future[None], Block] | None = None
        self.failed = False

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        """Also after an error, so that nothing that was lived is lost."""
        try:
            self._wait()
        finally:
            self.thread.shutdown()

    def add(self, blocks: Sequence[Block]) -> None:
        """An error of the store comes up here, or one block late; after it nothing more is written."""
        for block in blocks:
            self._wait()
            if self.failed:
                return
            if block.nbytes < _LARGE:
                with self.interrupt.whole():
                    self.failed = True  # unless all of it gets written
                    self._write(block)
                    self.failed = False
                self.driver.reuse(block)
            else:
                self.pending = self.thread.submit(self._write, block), block

    def _write(self, block: Block) -> None:
        if self.limit is None or block.after.next <= self.limit:
            self.store.append(block)
        else:
            self.store.extend([piece for piece in block.pieces() if piece.number < self.limit])

    def _wait(self) -> None:
        if self.pending is None:
            return
        (future, block), self.pending = self.pending, None
        failure = future.exception()
        if failure is not None:
            self.failed = True
            raise failure
        self.driver.reuse(block)


class _Ticker:
    """Tells progress a few times per second."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.due = progress, total, 0.0

    def __call__(self, done: int) -> None:
        if self.progress and time.monotonic() > self.due:
            self.last(done)

    def last(self, done: int) -> None:
        if self.progress:
            self.progress(min(done, self.total), self.total)
            self.due = time.monotonic() + _PROGRESS_SECONDS
