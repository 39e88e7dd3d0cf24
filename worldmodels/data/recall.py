"""Handing a learner what it believed when it was here before: at the same step, or at the end of the window before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from worldmodels.core.experience import Batch
from worldmodels.core.spec import ArraySpec
from worldmodels.data.block import Block
from worldmodels.data.latents import Latents, lean, told
from worldmodels.data.sampler import Uniform
from worldmodels.data.store import EpisodeStore


class Recall:
    """Between a stream and its learner: nothing is kept, and every window begins without a belief."""

    def take(self, store: EpisodeStore, block: Block) -> None:
        """Put a block into the store, and what it tells of beliefs elsewhere."""
        store.append(block)

    def recall(self, store: EpisodeStore, batch: Batch) -> Batch:  # noqa: ARG002 (a subclass looks there)
        """The batch with what is known of its first moments."""
        return batch

    def keep(self, store: EpisodeStore, batch: Batch, beliefs: Mapping[str, Tensor]) -> None:
        """What the learner believes of the batch's moments (B, T + 1, ...), now that it has learned from it."""

    def snapshot(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass

    def clear(self) -> None:
        pass

    def close(self) -> None:
        pass


class Carried(Recall):
    """Each row goes on from what was believed at the end of its window before (truncated backpropagation).

    For samplers that say so in `known`, such as `Consecutive`.
    """

    def __init__(self) -> None:
        self.last: dict[str, Tensor] = {}

    def recall(self, store: EpisodeStore, batch: Batch) -> Batch:  # noqa: ARG002
        return replace(batch, recalled=self.last) if self.last else replace(batch, known=None)

    def keep(self, store: EpisodeStore, batch: Batch, beliefs: Mapping[str, Tensor]) -> None:  # noqa: ARG002
        self.last = {name: value[:, -1].clone() for name, value in beliefs.items()}

    def snapshot(self) -> dict[str, Any]:
        return {"last": {name: value.cpu() for name, value in self.last.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        self.last = dict(state["last"])

    def clear(self) -> None:
        self.last = {}


class Replayed(Recall):
    """Each window goes on from what was believed at its first step when it was lived, or last learned from.

    DreamerV3's `replay_context=1`: beliefs are told by the policy, and refreshed after each update.
    """

    def __init__(self, folder: Path, extras: Mapping[str, ArraySpec], sampler: Uniform) -> None:
        self.latents, self.sampler = Latents(folder, told(extras)), sampler

    def take(self, store: EpisodeStore, block: Block) -> None:
        row = store.index.rows
        store.append(lean(block))
        self.latents.append(block, row)

    def recall(self, store: EpisodeStore, batch: Batch) -> Batch:
        assert batch.key is not None
        values, known = self.latents.get(self.sampler.rows(store, batch.key)[:, 0])
        recalled = {name: torch.from_numpy(value) for name, value in values.items()}
        return replace(batch, recalled=recalled, known=torch.from_numpy(known))

    def keep(self, store: EpisodeStore, batch: Batch, beliefs: Mapping[str, Tensor]) -> None:
        assert batch.key is not None
        assert batch.known is not None
        # Only where a window can begin, and not where nothing was looked at anew.
        last = batch.mask[:, -1:] | batch.first[:, -1:]
        new = torch.cat([batch.mask, last], 1)
        new[:, 0] &= ~batch.known | batch.first[:, 0]
        at = new.numpy()
        rows = self.sampler.rows(store, batch.key)[at]
        # torch rounds many times as fast as numpy, and on its device, before the way to the CPU.
        small = {name: beliefs[name].to(getattr(torch, spec.dtype)) for name, spec in self.latents.arrays.items()}
        self.latents.put(rows, {name: value.cpu().numpy()[at] for name, value in small.items()})

    def snapshot(self) -> dict[str, Any]:
        return self.latents.snapshot()

    def restore(self, state: dict[str, Any]) -> None:
        self.latents.restore(state)

    def clear(self) -> None:
        self.latents.clear()

    def close(self) -> None:
        self.latents.close()


class Refreshed(Replayed):
    """Extras of every step that the learner may replace, such as what a search found there: windows have the newest.

    The policy tells them when a step is lived, and the learner whenever it knows better; its `known` (B, T) says where
    it does. Until a step has any they are 0. MuZero's reanalyze, in place.
    """

    def recall(self, store: EpisodeStore, batch: Batch) -> Batch:
        rows = self._rows(store, batch)
        values, _ = self.latents.get(rows.flatten())
        newest = {name: torch.from_numpy(value).unflatten(0, rows.shape) for name, value in values.items()}
        return replace(batch, extras={**batch.extras, **newest})

    def keep(self, store: EpisodeStore, batch: Batch, beliefs: Mapping[str, Tensor]) -> None:
        if not beliefs:
            return
        at = (beliefs["known"].cpu() & batch.mask).numpy()
        values = {name: beliefs[name].cpu().numpy()[at] for name in self.latents.arrays}
        self.latents.put(self._rows(store, batch)[at], values)

    def _rows(self, store: EpisodeStore, batch: Batch) -> Int64[np.ndarray, "B T"]:
        """Where the steps of windows lie; where there are none, those of their last observations."""
        assert batch.key is not None
        return self.sampler.rows(store, batch.key)[:, :-1]
