"""What the machine calls its processor."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """Such as 'Intel(R) Xeon(R) CPU @ 2.20GHz'."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
