"""What ranks cannot take together is told on all of them in one line, and none waits for another."""

from dataclasses import replace
from typing import Any

import pytest
import torch.distributed as dist
from torch import nn

import dnas
from dnas import SearchSettings, Silent, UserError
from dnas.data.carried import ContinuedBatches
from dnas.data.iterable_batches import IterableBatches
from dnas.distributed.environment import first_node, launched, seconds_to_wait
from dnas.distributed.together import together
from tests.support.data_parallel import SHARED, data, model
from tests.support.ranks import on_ranks, own_rank

SETTINGS = SearchSettings(**SHARED)


def refusals() -> dict[str, str]:
    """What each mistake is answered with, in this rank."""
    rank = own_rank()
    tries: dict[str, Any] = {
        "settings": lambda: searching(settings=replace(SETTINGS, seed=rank)),
        "data": lambda: searching(train=data(1 + rank)),
        "length": lambda: searching(train=data(1)[: 1 + rank]),
        "model": lambda: searching(net=nn.Sequential(model(), *([nn.ReLU(), nn.Linear(3, 3).double()] * rank))),
        "few samples": lambda: searching(train=data(1, (8, 1))),
        "carried": lambda: searching(train=ContinuedBatches(IterableBatches(data(1)), data(1)[0][0])),
        "network": lambda: dnas.retrain(nn.Linear(2, 2 + rank), data(1), display=Silent()),
        "wrapped": lambda: searching(net=nn.DataParallel(model())),
    }
    answers: dict[str, str] = {}
    with together():
        for name, call in tries.items():
            with pytest.raises(UserError) as caught:
                call()
            answers[name] = str(caught.value)
    return answers


def searching(net: nn.Module | None = None, train: Any = None, settings: SearchSettings = SETTINGS) -> None:
    dnas.search(net or model(), train or data(1), data(2), settings=settings, display=Silent())


def test_ranks_that_disagree_or_cannot_share_are_refused_on_all_of_them():
    first, second = on_ranks(2, refusals)
    assert first == second
    assert "The settings of rank 1 are other than those of rank 0" in first["settings"]
    assert "seed=1" in first["settings"]
    assert "The batches (train) of rank 1 are other" in first["data"]
    assert "2 batches" in first["length"] and "1 batches" in first["length"]
    assert "The weights of rank 1 are other" in first["model"]
    assert "A batch has 1 samples, fewer than the 2 ranks that share it" in first["few samples"]
    assert "taken by one process" in first["carried"]
    assert "The weights of rank 1 are other" in first["network"]
    assert "wrapped in DataParallel" in first["wrapped"]


def other_backend() -> str:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=own_rank(), world_size=2, store=FakeStore())
    with pytest.raises(UserError) as caught, together():
        pass
    return str(caught.value)


def missing_rank() -> str:
    if own_rank() == 1:
        return ""
    with pytest.raises(UserError) as caught, together():
        pass
    return str(caught.value)


def test_a_group_of_another_backend_and_a_rank_that_does_not_come_are_refused():
    assert "has the backend 'fake'; dnas works with gloo on CPUs and nccl on GPUs" in on_ranks(1, other_backend)[0]
    said = on_ranks(2, missing_rank, environment={"DNAS_RANK_SECONDS": "2"})[0]
    assert said.startswith("Rank 0 of 2 did not meet the others at tcp://localhost:")
    assert "within 2 s (set DNAS_RANK_SECONDS for another limit)" in said


def test_launchers_are_known_by_their_variables():
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "m", "MASTER_PORT": "5"}
    slurm = {"SLURM_PROCID": "9", "SLURM_STEP_NUM_TASKS": "16", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "70001"}
    slurm["SLURM_STEP_NODELIST"] = "gpu[007-009,012],login1"
    by_torchrun, by_slurm = launched(torchrun), launched(slurm)
    assert by_torchrun is not None and by_slurm is not None
    assert (by_torchrun.rank, by_torchrun.size, by_torchrun.local_rank, by_torchrun.port) == (3, 4, 1, 5)
    assert (by_slurm.rank, by_slurm.size, by_slurm.address, by_slurm.port) == (9, 16, "gpu007", 29501)
    assert launched({}) is None
    assert launched({"SLURM_PROCID": "0", "SLURM_NTASKS": "16"}) is None  # the script of sbatch, in which one runs
    assert launched({**torchrun, "WORLD_SIZE": "1", "RANK": "0"}) is None
    assert [first_node(nodes) for nodes in ("a1", "a1,b2", "a[3,7]-ib")] == ["a1", "a1", "a3-ib"]
    with pytest.raises(UserError, match="RANK=4 is no rank of WORLD_SIZE=4"):
        launched({**torchrun, "RANK": "4"})
    with pytest.raises(UserError, match="LOCAL_RANK must be a whole number; it is 'x'"):
        launched({**torchrun, "LOCAL_RANK": "x"})
    with pytest.raises(UserError, match="DNAS_RANK_SECONDS is how many seconds"):
        seconds_to_wait({"DNAS_RANK_SECONDS": "soon"})
