"""Whether the kernels can be used here, and how a function becomes one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The first release that supports the oldest numpy and Python that were tested.
_OLDEST = (0, 61)


@cache
def why_not() -> str | None:
    """Why there are no kernels here, as the end of a sentence; None if there are."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed (`pip install 'dnas[cpu]'`)"
    installed = version("numba")
    if tuple(int(part) for part in installed.split(".")[:2]) < _OLDEST:
        return f"numba {installed} is older than {'.'.join(map(str, _OLDEST))} (`pip install --upgrade numba`)"
    try:
        import numba  # noqa: F401
    except ImportError as error:  # numba refuses versions of numpy that it does not know
        return f"numba {installed} cannot be imported: {error}"
    return None


@cache
def vector_bytes() -> int:
    """Width of the processor's vector registers: 64 bytes with AVX-512, otherwise 32, which any processor can do."""
    from llvmlite import binding

    return 64 if binding.get_host_cpu_features().get("avx512f") else 32


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled for the types that it is called with, without Python's lock, so that several threads can run.

    The result is kept in `~/.cache/dnas` (or below `XDG_CACHE_HOME`) if that can be written.
    """
    from numba import config, njit

    folder = cache_folder()
    before = config.CACHE_DIR  # pyright: ignore[reportAttributeAccessIssue], set by name when numba is imported
    config.CACHE_DIR = str(folder or "")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return njit(nogil=True, error_model="numpy", cache=folder is not None)(function)
    finally:
        config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, one folder for each state of their sources; None if it cannot be written.

    numba looks only at the file of a kernel, and would go on with another that calls what has changed.
    """
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*_numba.py")))
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = caches / "dnas" / f"kernels-{hashlib.sha256(sources).hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the second where nobody has a home
        return None
    return folder if os.access(folder, os.W_OK) else None
