"""A stage for jobs of a cluster: it fails where something is missing, and naps so that there is time to disturb it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny import Tiny

from worldmodels.core.experience import Batch
from worldmodels.core.spec import EnvSpec
from worldmodels.stage.stage import Scalars


class Brittle(Tiny):
    """Fails at its 30th update unless the file `needs` is there."""

    def __init__(self, spec: EnvSpec, *, needs: str | None = None, **more: Any) -> None:
        super().__init__(spec, **more)
        self.needs = needs

    def losses(self, batch: Batch) -> tuple[Scalars, Scalars]:
        if self.needs is not None and self.global_step == 30 and not Path(self.needs).exists():
            raise FileNotFoundError(f"{self.needs} is missing")
        return super().losses(batch)
