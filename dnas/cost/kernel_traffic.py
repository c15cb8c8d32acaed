"""How many bytes the kernels of this process have read and written so far, which operators' counters do not see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass
class Traffic:
    """Each array counts once for each kernel that reads or writes it; what stays in the processor's cache does not."""

    num_bytes: int = 0

    def add(self, arrays: Iterable[Any]) -> None:
        """Count arrays that a kernel reads or writes."""
        self.num_bytes += sum(array.nbytes for array in arrays)


TRAFFIC = Traffic()
