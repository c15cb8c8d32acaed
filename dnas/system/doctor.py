"""What dnas finds on a machine: versions, devices, threads, memory, and which packages are missing.

It needs nothing but Python, so that it can also say that PyTorch is missing.
"""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dnas.system.processor import processor_name
from dnas.version import __version__

NEEDED = ("torch", "numpy")
_HINT = 'pip install ".[{}]" in a clone of dnas'
_NOT_FOR_USERS = ("dev", "docs", "all")


@dataclass(frozen=True)
class Findings:
    """What was found.

    Args:
        lines: name and value, in order.
        missing: packages that dnas cannot do without.
    """

    lines: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.lines)


def examine() -> Findings:
    """Look at this machine; nothing is measured."""
    missing = tuple(name for name in NEEDED if version(name) is None)
    return Findings((*_versions(), *_machine(), *_torch(), *_extras()), missing)


def version(package: str) -> str | None:
    """The version of a package that is installed; None if it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def extras_of(requirements: list[str]) -> dict[str, list[str]]:
    """Extra -> the packages that it installs, from the requirements of a package.

    Example:
        >>> extras_of(["torch>=2", "rich>=13; extra == 'cli'", 'onnx; extra == "export"'])
        {'cli': ['rich'], 'export': ['onnx']}
    """
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        match = re.match(r"""([\w.-]+).*extra == ['"]([\w-]+)['"]""", requirement)
        if match and match[2] not in _NOT_FOR_USERS:
            found.setdefault(match[2], []).append(match[1])
    return found


def _versions() -> Iterator[tuple[str, str]]:
    yield "dnas", __version__
    yield "Python", f"{platform.python_version()} ({platform.platform()})"
    for name in NEEDED:
        yield name, version(name) or f"missing: pip install {name}"


def _machine() -> Iterator[tuple[str, str]]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "processor", f"{processor_name()}, {os.cpu_count()} cores, {usable} for this process"
    if "OMP_NUM_THREADS" in os.environ:
        yield "OMP_NUM_THREADS", os.environ["OMP_NUM_THREADS"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield "memory", f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    yield "disk", f"{shutil.disk_usage('.').free / 2**30:.1f} GiB free here"


def _torch() -> Iterator[tuple[str, str]]:
    """Threads, free memory and GPUs, as PyTorch sees them."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library that it loads is missing
        yield "devices", f"unknown, since PyTorch cannot be imported: {error}"
        return
    from dnas.system.memory import available_memory, gibibytes

    yield "threads", str(torch.get_num_threads())
    yield "memory to use", gibibytes(available_memory(torch.device("cpu")))
    if not torch.cuda.is_available():
        built = "built for CUDA " + torch.version.cuda if torch.version.cuda else "built without CUDA"
        yield "GPUs", f"none ({built})"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{properties.name}, {gibibytes(properties.total_memory)}"


def _extras() -> Iterator[tuple[str, str]]:
    """For each extra its packages, and how to install what is missing."""
    try:
        extras = extras_of(importlib.metadata.requires("dnas") or [])
    except importlib.metadata.PackageNotFoundError:
        yield "extras", "unknown, since dnas is not installed: pip install . in a clone of dnas"
        return
    for extra, packages in extras.items():
        found = {name: version(name) for name in packages}
        yield f"extra {extra}", _extra(extra, found)


def _extra(extra: str, found: Mapping[str, str | None]) -> str:
    lacking = [name for name, installed in found.items() if installed is None]
    there = ", ".join(f"{name} {installed}" for name, installed in found.items() if installed is not None)
    said = [there] if there else []
    said += [f"missing {', '.join(lacking)}: {_HINT.format(extra)}"] if lacking else []
    if "cairosvg" in found and not lacking and ctypes.util.find_library("cairo") is None:
        said.append("missing the library cairo (Debian: apt install libcairo2)")
    return "; ".join(said)
