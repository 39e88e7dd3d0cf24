"""Which world of a mixture each episode of a store was lived in."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from worldmodels.core.spec import ENV_ID
from worldmodels.data.arrays import Arrays
from worldmodels.data.column import Rows
from worldmodels.data.growing import Growing
from worldmodels.data.table import Table


class Labels:
    """The extra `env_id` of each episode's first step, read once per episode, in the order in which they began."""

    def __init__(self) -> None:
        self._of: Table | None = None
        self._read = Growing("int64")

    def __call__(self, table: Table, arrays: Arrays) -> Int64[np.ndarray, " N"]:
        if self._of is not table:
            self._of, self._read = table, Growing("int64")
        fresh = np.arange(self._read.size, len(table))
        if len(fresh):
            rows = table.rows(fresh, np.zeros_like(fresh))
            self._read.append(arrays.columns[f"extras.{ENV_ID}"].take(Rows(rows)))
        return self._read.values
