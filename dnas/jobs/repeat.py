"""A search that is carried out again: what is other than it was, and whether the result is the same."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

from dnas.core.run import Run
from dnas.data import SampleSet
from dnas.system.difference import first_difference

DATA = "data"  # name of the JSON file with the fingerprint of a run's images
# What may differ between two equal searches: how long they took.
_TIMES = ("seconds",)


def fingerprint(parts: Mapping[str, SampleSet]) -> dict[str, Any]:
    """Number, size and SHA-256 of the images of each part, which changes with any pixel, label, name or class."""
    found: dict[str, Any] = {}
    for name, images in parts.items():
        digest = hashlib.sha256(repr((images.kind.names, images.paths, tuple(images.inputs.shape))).encode("utf-8"))
        digest.update(images.targets.cpu().contiguous().numpy().tobytes())
        # A check sum is enough for pixels and three times as fast: 0.2 s for the 184 MB of CIFAR-10.
        pixels = zlib.crc32(images.inputs.cpu().contiguous().numpy().tobytes())
        digest.update(pixels.to_bytes(4, "little"))
        found[name] = {"images": len(images), "shape": list(images.inputs.shape[1:]), "sha256": digest.hexdigest()}
    return found


def remember_data(run: Run, parts: Mapping[str, SampleSet]) -> None:
    """Write the fingerprint of a run's images, unless it is there."""
    if not (run.path / f"{DATA}.json").exists():
        run.save_json(DATA, fingerprint(parts))


def circumstances(before: Run, run: Run) -> list[str]:
    """What is other than in the earlier run besides settings: versions, machine, threads, data; a sentence each."""
    told = []
    there, here = (one.read_config().get("environment") for one in (before, run))
    if isinstance(there, dict) and isinstance(here, dict):
        told += [
            f"{name}: {there[name]} there, {here.get(name)} here" for name in there if there[name] != here.get(name)
        ]
    if not (before.path / f"{DATA}.json").exists():
        told.append("data: that run holds no fingerprint of its data, so that they cannot be compared")
    elif before.load_json(DATA) != run.load_json(DATA):
        told.append("data: the images, their names or their classes are others")
    return told


def outcome(before: Run, run: Run) -> str:
    """Whether two finished searches found the same, and the first number in which their rows differ."""
    if not before.architecture_path.exists():
        return f"{before.path} has not finished, so that the results cannot be compared."
    same = before.load_architecture() == run.load_architecture()
    rows = [[{n: v for n, v in row.items() if n not in _TIMES} for row in one.metrics()] for one in (before, run)]
    first = next((there["step"] for there, here in zip(*rows, strict=False) if there != here), None)
    if same and first is None and len(rows[0]) == len(rows[1]):
        return f"The same as {before.path}: the architecture, and every number of {len(rows[0])} rows of metrics."
    difference = first_difference(before.load_architecture().decisions, run.load_architecture().decisions)
    found = "The architecture is that" if same else f"The architecture is another one than that ({difference})"
    where = "" if first is None else f" Numbers differ from step {first} on."
    return f"{found} of {before.path}.{where}"
