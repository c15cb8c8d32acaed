"""What spreads a model over devices or processes is refused, in one process and in two real ones."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import dnas
from dnas import Choice
from dnas.core.architecture import Architecture
from dnas.system.errors import UserError

DATA = [(torch.randn(8, 4), torch.zeros(8, dtype=torch.int64)) for _ in range(2)]


def a_model() -> nn.Module:
    return nn.Sequential(Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: nn.Sequential(nn.DataParallel(model))])
def test_a_wrapped_model_is_not_searched_nor_derived(wrap):
    with pytest.raises(UserError, match=r"wrapped in DataParallel.*give the module inside, model\."):
        dnas.search(wrap(a_model()), DATA[:1], DATA[1:])
    with pytest.raises(UserError, match=r"wrapped in DataParallel"):
        dnas.derive(wrap(a_model()), Architecture({"act": "relu"}))


def test_a_wrapped_network_is_not_trained_nor_measured():
    network = nn.Sequential(nn.DataParallel(nn.Linear(4, 2)))
    with pytest.raises(UserError, match=r"the model's part '0' is wrapped.*model\.0\.module"):
        dnas.retrain(network, DATA)
    with pytest.raises(UserError, match="the model's part '0' is wrapped"):
        dnas.evaluate(network, DATA)


PROCESS = """
import sys, torch, dnas, torch.distributed as group
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from dnas import Choice
from dnas.language import search_language, train_language
from tests.support.small_language import corpus, network
group.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=int(sys.argv[2]), world_size=2)
data = [(torch.randn(8, 4), torch.zeros(8, dtype=torch.int64)) for _ in range(2)]
model = nn.Sequential(Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))
wrapped = DistributedDataParallel(nn.Linear(4, 2))
tries = {
    "search": lambda: dnas.search(model, data[:1], data[1:]),
    "retrain": lambda: dnas.retrain(nn.Linear(4, 2), data),
    "search_language": lambda: search_language(corpus()),
    "train_language": lambda: train_language(network(), corpus()),
    "derive": lambda: dnas.derive(nn.Sequential(model[0], wrapped), dnas.Architecture({"act": "relu"})),
}
for name, call in tries.items():
    try:
        call()
    except ValueError as error:
        print(name, "refused:", error)
group.destroy_process_group()
"""


def test_two_processes_that_disagree_or_cannot_share_are_refused_in_both(tmp_path: Path):
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "store")]
    processes = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    for process in processes:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        for name in ("search", "retrain"):  # which take part together, and were given other data
            assert f"{name} refused: The batches (train) of rank 1 are other than those of rank 0" in said
        for name in ("search_language", "train_language"):
            assert f"{name} refused: torch.distributed is initialised with 2 processes" in said
        assert "derive refused: the model's part '1' is wrapped in DistributedDataParallel" in said
