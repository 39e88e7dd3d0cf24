"""Experience into a store, up to a requested amount."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worldmodels.core.errors import ConfigError
from worldmodels.core.experience import Episode
from worldmodels.data.driver import Driver
from worldmodels.data.store import EpisodeStore

Progress = Callable[[int, int], None]  # done, wanted
_PROGRESS_SECONDS = 0.1
_BLOCK_STEPS = 1024  # so many can be lost, twice, if the process is killed


@dataclass(frozen=True)
class Summary:
    """What a store holds after recording, and what this call added to it."""

    env_steps: int
    episodes: int
    added_steps: int
    added_episodes: int
    mean_return: float | None  # of the episodes that ended in this call
    seconds: float


class Recorder:
    """Drives worlds and stores what they live through.

    Amounts are totals of the store, so asking again for the same amount does nothing and asking for more goes on. What
    is still open at the end is stored as episodes that are not over: the same driver continues them, another process
    begins new ones with numbers and randomness of their own. Ctrl-C stores what is open, too.
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
        elif episodes is not None and steps is None:
            self._record_episodes(episodes, progress)
        else:
            raise ConfigError(f"steps={steps} and episodes={episodes}", "one of the two", "set one, leave the other")
        self.store.flush()
        returns = [total for total, _ in self.driver.drain()]
        return Summary(
            env_steps=self.store.steps,
            episodes=len(self.store),
            added_steps=self.store.steps - steps_before,
            added_episodes=len(self.store) - episodes_before,
            mean_return=sum(returns) / len(returns) if returns else None,
            seconds=time.monotonic() - since,
        )

    def _record_steps(self, total: int, progress: Progress | None) -> None:
        offset = self.store.steps + self.driver.open - self.driver.steps
        tell = _Ticker(progress, total)
        with _Writer(self.store) as writer:
            try:
                while self.driver.steps + offset < total:
                    writer.add(self.driver.step())
                    tell(self.driver.steps + offset)
            finally:
                writer.add(self.driver.flush())
        tell.last(self.driver.steps + offset)

    def _record_episodes(self, total: int, progress: Progress | None) -> None:
        left = total - len(self.store)
        if left <= 0:
            return
        self.driver.begin(self.store.next_number)
        limit, tell = self.driver.next_number + left, _Ticker(progress, total)

        def wanted(pieces: list[Episode]) -> list[Episode]:
            return [piece for piece in pieces if piece.number < limit]

        with _Writer(self.store) as writer:
            try:
                while left:
                    pieces = wanted(self.driver.step())
                    writer.add(pieces)
                    left -= sum(piece.ended for piece in pieces)
                    tell(total - left)
            finally:
                writer.add(wanted(self.driver.flush()))
        self.driver.begin(self.store.next_number)  # drops what began after the last one wanted
        tell.last(total)


class _Writer:
    """Gives pieces to the store in blocks, in a thread of its own: checksums and writing need no interpreter.

    While one block is written, the next one is gathered. The store is the thread's alone until the end of the `with`.
    """

    def __init__(self, store: EpisodeStore) -> None:
        self.store, self.thread = store, ThreadPoolExecutor(1, "recorder")
        self.block: list[Episode] = []
        self.steps = 0
        self.pending: Future[None] | None = None
        self.failed = False

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        """Also after an error, so that nothing that was lived is lost."""
        try:
            self._hand_over()
            self._wait()
        finally:
            self.thread.shutdown()

    def add(self, pieces: list[Episode]) -> None:
        """An error of the store comes up here, one block late; after it nothing more is written."""
        if pieces and not self.failed:
            self.block += pieces
            self.steps += sum(map(len, pieces))
            if self.steps >= _BLOCK_STEPS:
                self._hand_over()

    def _hand_over(self) -> None:
        self._wait()
        block, self.block, self.steps = self.block, [], 0
        if not self.failed:
            self.pending = self.thread.submit(self.store.extend, block)

    def _wait(self) -> None:
        pending, self.pending = self.pending, None
        failure = pending.exception() if pending is not None else None
        if failure is not None:
            self.failed = True
            raise failure


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
