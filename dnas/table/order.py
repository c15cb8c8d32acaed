"""All architectures of NAS-Bench-201 in the official order.

Architecture i of NATS-Bench is row i here. The order was made by counting through the operations, edge (0, 1) slowest,
and one shuffle with seed 88 (read: `generate_meta_info` in exps/NATS-Bench/main-tss.py of D-X-Y/AutoDL-Projects), so it
needs no file.
"""

from __future__ import annotations

import functools
import itertools
import random

import numpy as np
from numpy.typing import NDArray

from dnas.space.nasbench201 import CANDIDATES, EDGES

NUM_ARCHITECTURES = len(CANDIDATES) ** len(EDGES)


@functools.cache
def official_operations() -> NDArray[np.uint8]:
    """(15625, 6): for each architecture the operation of each edge, as an index into `CANDIDATES`; read-only."""
    operations = list(itertools.product(range(len(CANDIDATES)), repeat=len(EDGES)))
    random.Random(88).shuffle(operations)
    array = np.array(operations, dtype=np.uint8)
    array.flags.writeable = False
    return array


@functools.cache
def official_strings() -> tuple[str, ...]:
    """The architectures as written by `dnas.formats.write_nasbench201`.

    Example:
        >>> official_strings()[0]
        '|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|'
    """
    return tuple(operation_string(row) for row in official_operations().tolist())


def operation_string(operations: list[int]) -> str:
    """The official string of one operation index for each of the six edges."""
    a, b, c, d, e, f = (CANDIDATES[k] for k in operations)
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


@functools.cache
def rows_of_strings() -> dict[str, int]:
    """Official string -> row."""
    return {text: row for row, text in enumerate(official_strings())}
