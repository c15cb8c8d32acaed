"""From the files of NATS-Bench, through its own package, to a table.

Dong et al. 2021, https://arxiv.org/abs/2009.00437; API as in nats_bench 1.8 (D-X-Y/NATS-Bench). Its topology
search space 'tss' is NAS-Bench-201.
"""

from __future__ import annotations

import math
import pickle
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dnas.core.architecture import Architecture
from dnas.formats import write_nasbench201
from dnas.system.display import Display, Silent
from dnas.system.errors import MissingPackage, UserError
from dnas.table.order import NUM_ARCHITECTURES, official_strings
from dnas.table.table import Table

# Data set of NATS-Bench -> its name in columns.
DATASETS = {"cifar10": "c10", "cifar100": "c100", "ImageNet16-120": "in16"}
EPOCHS = (12, 200)

_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    AssertionError,
    AttributeError,
    zlib.error,
    pickle.UnpicklingError,
)


class NatsBench(Protocol):
    """The part of `nats_bench.create(path, 'tss')` that we use."""

    fast_mode: Any
    arch2infos_dict: Any

    def __len__(self) -> int: ...
    def query_index_by_arch(self, arch: str) -> int: ...
    def get_more_info(
        self, index: int, dataset: str, iepoch: int | None = None, hp: str = "12", is_random: bool = True
    ) -> dict[str, Any]: ...
    def get_cost_info(self, index: int, dataset: str, hp: str = "12") -> dict[str, Any]: ...


def from_nats_bench(path: str | Path, *, display: Display = Silent()) -> Table:
    """The table from the user's NATS-Bench file or folder; `query_nats_bench` lists its columns.

    Columns without any value are left out. A folder takes about 7 minutes on one core, at constant memory; a single
    file is loaded whole by nats_bench and needs much memory.

    The files are pickles, and loading a pickle executes code in it: use only files from the authors.

    Args:
        path: a folder such as NATS-tss-v1_0-3ffb9-simple, or one file such as NATS-tss-v1_0-3ffb9.pickle.pbz2.
        display: notified after each architecture.

    Raises:
        MissingPackage: nats_bench is not installed.
        UserError: there is nothing of NATS-Bench, it is the other search space, or it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.")
    if path.is_dir() and not (path / "meta.pickle.pbz2").is_file():
        raise UserError(f"{path} is no folder of NATS-Bench: it has no meta.pickle.pbz2.")
    try:
        import nats_bench  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPackage(
            f"Reading the files of NATS-Bench needs its package ({error}). Install it: pip install nats_bench"
        ) from error
    try:
        api = nats_bench.create(str(path), "tss", fast_mode=path.is_dir(), verbose=False)
    except _UNREADABLE as error:
        raise UserError(f"nats_bench cannot read {path} ({type(error).__name__}: {error}).") from error
    return from_api(api, source=f"NATS-Bench, {path.name}", display=display)


def from_api(api: NatsBench, *, source: str, display: Display = Silent()) -> Table:
    """The table of an open nats_bench API of the topology search space.

    Raises:
        UserError: it has other architectures, or one of them cannot be read.
    """
    if len(api) != NUM_ARCHITECTURES:
        raise UserError(
            f"{source} has {len(api):,} architectures; NAS-Bench-201 (the topology search space, 'tss') has "
            f"{NUM_ARCHITECTURES:,}."
        )
    columns: dict[str, np.ndarray] = {}
    for row, text in enumerate(official_strings()):
        for dataset in DATASETS:
            for name, value in _query(api, text, dataset).items():
                columns.setdefault(name, np.full(NUM_ARCHITECTURES, np.nan))[row] = value
        if api.fast_mode:
            # Fast mode keeps everything that it has read: 15,625 files of about half a megabyte as objects.
            api.arch2infos_dict.clear()
        display.update("convert", row + 1, NUM_ARCHITECTURES, {})
    return Table({name: values for name, values in columns.items() if not np.isnan(values).all()}, source=source)


def query_nats_bench(api: NatsBench, architecture: Architecture, dataset: str) -> dict[str, float]:
    """The values that NATS-Bench has for one architecture on one data set; NaN for unknown ones.

    With D one of c10 (CIFAR-10), c100 (CIFAR-100) and in16 (ImageNet16-120); accuracies are in percent, the mean over
    seeds after the last epoch of a schedule of 12 or 200 epochs:

    - `test12_D`, `test200_D`: on test images. CIFAR-10 is trained on all 50,000 training images; for the others they
    are
      the benchmark's test half of the images that are not trained on.
    - `valid12_D`, `valid200_D`: on validation images. For CIFAR-10 they are one half of the training images, with
    training
      on the other ('cifar10-valid'); for the others the other half of the images that are not trained on.
    - `mflops_D` in millions of multi-adds, `mparams_D` in millions, `latency_ms_D` in milliseconds for a batch of 256
      on the authors' GPU.

    Args:
        api: the result of `nats_bench.create(path, "tss")`.
        architecture: an architecture of NAS-Bench-201.
        dataset: 'cifar10', 'cifar100' or 'ImageNet16-120'.

    Raises:
        UserError: another data set is given, or the architecture is not of NAS-Bench-201 or not in the files.
    """
    if dataset not in DATASETS:
        raise UserError(f"NATS-Bench has the data sets {', '.join(DATASETS)}; got {dataset!r}.")
    return _query(api, write_nasbench201(architecture), dataset)


def _query(api: NatsBench, text: str, dataset: str) -> dict[str, float]:
    index = api.query_index_by_arch(text)
    if index < 0:
        raise UserError(f"The opened benchmark has no architecture {text}; is it of the search space 'tss'?")
    name = DATASETS[dataset]
    # The 25,000 validation images are not trained on, which only for CIFAR-10 is a data set of its own.
    validated = "cifar10-valid" if dataset == "cifar10" else dataset
    found: dict[str, float] = {}
    try:
        for epochs in EPOCHS:
            found[f"test{epochs}_{name}"] = _accuracy(api, index, dataset, epochs, "test-accuracy")
            found[f"valid{epochs}_{name}"] = _accuracy(api, index, validated, epochs, "valid-accuracy")
        return {**found, **_costs(api, index, dataset)}
    except _UNREADABLE as error:
        raise UserError(f"nats_bench cannot read architecture {index} ({type(error).__name__}: {error}).") from error


def _accuracy(api: NatsBench, index: int, dataset: str, epochs: int, key: str) -> float:
    try:
        return api.get_more_info(index, dataset, hp=str(epochs), is_random=False).get(key, math.nan)
    except KeyError:  # no such schedule, or not trained on this data set
        return math.nan


def _costs(api: NatsBench, index: int, dataset: str) -> dict[str, float]:
    """Costs, which are the same for both schedules, as the network is the same; read from the longer one."""
    name = DATASETS[dataset]
    try:
        costs = api.get_cost_info(index, dataset, hp=str(EPOCHS[-1]))
    except KeyError:
        costs = {"flops": math.nan, "params": math.nan, "latency": None}
    seconds = math.nan if costs["latency"] is None else costs["latency"]
    return {
        f"mflops_{name}": float(costs["flops"]),
        f"mparams_{name}": float(costs["params"]),
        f"latency_ms_{name}": 1000 * float(seconds),
    }
