"""Which GPUs take the next job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worldmodels.launch.queue.nouns import Device, Memory, Rules


@dataclass(frozen=True)
class Load:
    """A device as it stands. taken: places that are used or not yet released; young: jobs that have just begun."""

    device: Device
    taken: int
    young: int
    memory: Memory | None

    def expected(self, rules: Rules) -> float:
        """GiB in use once the young jobs have grown."""
        used = self.memory.used if self.memory else 0.0
        return used + self.young * (rules.reserve_gb or 0.0)

    def takes(self, rules: Rules) -> bool:
        """Whether one more job may start here. A GPU that should be measured and can not be takes none."""
        if self.taken >= self.device.slots:
            return False
        if not self.device.measured:
            return True
        if self.memory is None or (self.young and rules.reserve_gb is None):
            return False
        expected, total = self.expected(rules), self.memory.total
        if rules.reserve_gb is not None and total is not None and expected + rules.reserve_gb > total:
            return False
        return rules.max_used_gb is None or expected <= rules.max_used_gb


def choose(loads: Sequence[Load], rules: Rules) -> list[Device] | None:
    """Devices for one job: the least used memory first, then the fewest jobs of ours, then as listed; None: wait."""
    able = [load for load in loads if load.takes(rules)]
    if len(able) < rules.gpus_per_job:
        return None
    able.sort(key=lambda load: (load.expected(rules), load.taken))  # stable, so that ties stay as listed
    return [load.device for load in able[: rules.gpus_per_job]]
