"""Tables from NATS-Bench, on a small stand-in for nats_bench 1.8 with its names and the shape of its answers."""

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from dnas.formats import read_nasbench201
from dnas.space import DartsSpace
from dnas.system.display import Silent
from dnas.table import Table, from_nats_bench, official_strings, query_nats_bench
from dnas.table.natsbench import from_api

N = 15_625
DATASETS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")


class StandIn:
    """What NATStopology of nats_bench answers; row i has accuracies made of i, so that each can be recognised."""

    def __init__(self, archs: tuple[str, ...] = official_strings(), fast_mode: bool = True):
        self.archs = archs
        self.index = {text: index for index, text in enumerate(archs)}
        self.fast_mode = fast_mode
        self.arch2infos_dict: dict[int, Any] = {}
        self.most_held = 0

    def __len__(self) -> int:
        return len(self.archs)

    def query_index_by_arch(self, arch: str) -> int:
        return self.index.get(arch, -1)

    def get_more_info(
        self, index: int, dataset: str, iepoch: int | None = None, hp: str = "12", is_random: bool = True
    ) -> dict[str, Any]:
        assert iepoch is None
        assert is_random is False
        self._read(index)
        number = index / 1000 + {"12": 10, "200": 50}[hp] + DATASETS.index(dataset)
        info = {"train-loss": 0.1, "train-accuracy": 99.0, "train-per-time": None, "train-all-time": None}
        # CIFAR-10 as a whole leaves nothing to validate on; trained on a half, it has both.
        if dataset != "cifar10":
            info |= {"valid-loss": 0.2, "valid-accuracy": number + 0.25, "valid-per-time": 1.0, "valid-all-time": 2.0}
        return info | {"test-loss": 0.2, "test-accuracy": number, "test-per-time": 1.0, "test-all-time": 2.0}

    def get_cost_info(self, index: int, dataset: str, hp: str = "12") -> dict[str, Any]:
        self._read(index)
        latency = None if dataset == "ImageNet16-120" else 0.0125
        return {"flops": 7.78305 + index, "params": 0.073306, "latency": latency, "T-train@epoch": 1.0}

    def _read(self, index: int) -> None:
        self.arch2infos_dict[index] = "of one file"
        self.most_held = max(self.most_held, len(self.arch2infos_dict))


class WithoutShortSchedule(StandIn):
    """Without 12 epochs, and with nothing of CIFAR-100 and ImageNet."""

    def get_more_info(
        self, index: int, dataset: str, iepoch: int | None = None, hp: str = "12", is_random: bool = True
    ) -> dict[str, Any]:
        if hp == "12":
            raise KeyError("12")
        if dataset not in ("cifar10", "cifar10-valid"):
            raise KeyError(dataset)
        return super().get_more_info(index, dataset, iepoch, hp, is_random)

    def get_cost_info(self, index: int, dataset: str, hp: str = "12") -> dict[str, Any]:
        if dataset != "cifar10":
            raise KeyError(dataset)
        return super().get_cost_info(index, dataset, hp)


class Counting(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def update(self, phase: str, done: int, total: int, scalars: Any) -> None:
        self.seen.append((phase, done, total))


@pytest.fixture(scope="module")
def converted() -> tuple[Table, StandIn, Counting]:
    """The table of a benchmark that lists its architectures backwards, read in fast mode."""
    api, display = StandIn(official_strings()[::-1]), Counting()
    return from_api(api, source="a stand-in", display=display), api, display


@pytest.fixture
def nats_bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module nats_bench whose `create` notes how it was called."""
    module = ModuleType("nats_bench")
    calls: list[tuple] = []
    opened: list[StandIn] = []

    def create(file_path_or_dict: str, search_space: str, fast_mode: bool = False, verbose: bool = True) -> StandIn:
        calls.append((file_path_or_dict, search_space, fast_mode, verbose))
        opened.append(StandIn(fast_mode=fast_mode))
        return opened[-1]

    module.create = create  # type: ignore[attr-defined]
    module.opened = opened  # type: ignore[attr-defined]
    module.calls = calls  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nats_bench", module)
    return module


def test_one_architecture_is_asked_for_with_the_right_data_set_and_schedule():
    found = read_nasbench201(official_strings()[500])
    c10 = query_nats_bench(StandIn(), found, "cifar10")
    assert c10 == {
        "test12_c10": 11.5,
        "valid12_c10": 10.75,
        "test200_c10": 51.5,
        "valid200_c10": 50.75,
        "mflops_c10": 507.78305,
        "mparams_c10": 0.073306,
        "latency_ms_c10": 12.5,
    }
    in16 = query_nats_bench(StandIn(), found, "ImageNet16-120")
    assert (in16["test200_in16"], in16["valid200_in16"]) == (53.5, 53.75)
    assert math.isnan(in16["latency_ms_in16"])


def test_the_whole_benchmark_becomes_a_table_in_the_official_order(converted: tuple[Table, StandIn, Counting]):
    table = converted[0]
    # Row i of the benchmark is row N - 1 - i here.
    assert np.allclose(table.columns["test200_c100"], 52 + np.arange(N)[::-1] / 1000, rtol=1e-6, atol=0)
    assert table.source == "a stand-in"
    names = ("test12", "valid12", "test200", "valid200", "mflops", "mparams", "latency_ms")
    expected = {f"{name}_{dataset}" for name in names for dataset in ("c10", "c100", "in16")}
    # Latencies that are nowhere known are no column.
    assert set(table.columns) == expected - {"latency_ms_in16"}


def test_in_fast_mode_one_architecture_is_held_at_a_time(converted: tuple[Table, StandIn, Counting]):
    assert converted[1].most_held == 1


def test_progress_is_told(converted: tuple[Table, StandIn, Counting]):
    seen = converted[2].seen
    assert (seen[0], seen[-1], len(seen)) == (("convert", 1, N), ("convert", N, N), N)


def test_what_the_files_do_not_hold_is_unknown():
    found, api = read_nasbench201(official_strings()[500]), WithoutShortSchedule()
    c10 = query_nats_bench(api, found, "cifar10")
    assert {name for name, value in c10.items() if math.isnan(value)} == {"test12_c10", "valid12_c10"}
    c100 = query_nats_bench(api, found, "cifar100")
    assert len(c100) == 7
    assert all(math.isnan(value) for value in c100.values())


def test_a_file_is_read_at_once_and_stays_loaded(tmp_path: Path, nats_bench: ModuleType):
    (tmp_path / "NATS-tss.pickle.pbz2").touch()
    table = from_nats_bench(tmp_path / "NATS-tss.pickle.pbz2")
    assert table.source == "NATS-Bench, NATS-tss.pickle.pbz2"
    assert nats_bench.calls == [(str(tmp_path / "NATS-tss.pickle.pbz2"), "tss", False, False)]
    assert nats_bench.opened[0].most_held == N


def test_what_is_not_there_or_another_folder_is_named(tmp_path: Path, nats_bench: ModuleType):
    with pytest.raises(ValueError, match=f"There is no file or folder {tmp_path / 'none'}"):
        from_nats_bench(tmp_path / "none")
    with pytest.raises(ValueError, match=r"is no folder of NATS-Bench: it has no meta\.pickle\.pbz2"):
        from_nats_bench(tmp_path)
    assert not nats_bench.calls


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    (tmp_path / "meta.pickle.pbz2").touch()
    with pytest.raises(ImportError, match="pip install nats_bench"):
        from_nats_bench(tmp_path)


@pytest.mark.parametrize("folder", [True, False])
def test_what_nats_bench_cannot_read_is_named(tmp_path: Path, nats_bench: ModuleType, folder: bool):
    modes: list[bool] = []

    def create(file_path_or_dict: str, search_space: str, fast_mode: bool = False, verbose: bool = True) -> StandIn:
        modes.append(fast_mode)
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")

    nats_bench.create = create  # type: ignore[attr-defined]
    (tmp_path / "meta.pickle.pbz2").touch()
    path = tmp_path if folder else tmp_path / "meta.pickle.pbz2"
    with pytest.raises(ValueError, match=rf"cannot read {path} \(EOFError: Compressed file ended"):
        from_nats_bench(path)
    # Folders are read piece by piece.
    assert modes == [folder]


def test_a_folder_with_an_architecture_missing_is_refused_by_its_number():
    class Missing(StandIn):
        def _read(self, index: int) -> None:
            assert index != 2, f"invalid data path : {index}"
            super()._read(index)

    with pytest.raises(ValueError, match=r"cannot read architecture 2 .*invalid data path"):
        from_api(Missing(), source="a stand-in")


def test_the_other_search_space_is_refused():
    with pytest.raises(ValueError, match=r"a stand-in has 3 architectures; NAS-Bench-201 .* has 15,625"):
        from_api(StandIn(("8:8:8:8:8", "8:8:8:8:16", "8:8:8:8:24")), source="a stand-in")
    sizes = tuple(str(k) for k in range(N))
    with pytest.raises(ValueError, match=r"has no architecture \|avg_pool_3x3~0.*search space 'tss'"):
        from_api(StandIn(sizes), source="a stand-in")


def test_what_cannot_be_asked_is_refused():
    found = read_nasbench201(official_strings()[0])
    with pytest.raises(ValueError, match="cifar10, cifar100, ImageNet16-120; got 'cifar10-valid'"):
        query_nats_bench(StandIn(), found, "cifar10-valid")
    with pytest.raises(ValueError, match="got space 'darts'"):
        query_nats_bench(StandIn(), DartsSpace().random(torch.Generator()), "cifar10")
