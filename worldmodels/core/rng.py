"""Named generators from one seed, so that a new consumer never shifts the numbers of another."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import torch


class Rng:
    """A source of randomness with a name: one numpy and one torch (CPU) generator that no other name shares.

    Same seed and same names give the same numbers; 0 is a seed like any other.
    """

    def __init__(self, seed: int, *names: str | int) -> None:
        self.entropy, self.names = int(seed), names
        keys = [name if isinstance(name, int) else zlib.crc32(name.encode()) for name in names]
        # SeedSequence pads its entropy with zeros, so names are told from the seed by the spawn key.
        sequence = np.random.SeedSequence(self.entropy, spawn_key=tuple(keys))
        self.number = int(sequence.generate_state(1, np.uint32)[0])
        self.numpy = np.random.Generator(np.random.PCG64(sequence))
        self.torch = torch.Generator().manual_seed(int(sequence.generate_state(2, np.uint64)[1] >> np.uint64(1)))

    def child(self, *names: str | int) -> Rng:
        """An independent generator below this one; does not depend on what was drawn here."""
        return Rng(self.entropy, *self.names, *names)

    def seeds(self, count: int) -> list[int]:
        """Seeds for `count` worlds, below 2**31; a longer list begins with the shorter one."""
        return [self.child("seed", i).number >> 1 for i in range(count)]

    def snapshot(self) -> dict[str, Any]:
        return {"numpy": json.dumps(self.numpy.bit_generator.state), "torch": self.torch.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.numpy.bit_generator.state = json.loads(state["numpy"])
        self.torch.set_state(state["torch"])
