"""Where a checkpoint comes from, kept in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worldmodels.callback.watcher import Watcher


class Origin(Watcher):
    """Puts the run's config, as plain data, into every checkpoint: a copy of one that strays can then be told."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def state_dict(self) -> dict[str, Any]:
        return {"config": self.config}
