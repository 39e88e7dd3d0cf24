"""What all streams that live what they hand out have in common."""

from __future__ import annotations

from worldmodels.data.driver import Driver


class Lived:
    """Counts what its driver lives; see `data.module.Stream`."""

    driver: Driver

    @property
    def env_steps(self) -> int:
        return self.driver.steps

    @property
    def episodes(self) -> int:
        return self.driver.episodes

    @property
    def resume(self) -> str:
        return self.driver.resume

    def drain(self) -> list[tuple[float, int]]:
        return self.driver.drain()
