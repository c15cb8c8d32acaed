"""The mixtures of each epoch are read from a checkpoint as the search has seen them."""

import torch
from torch import nn
from torch.testing import assert_close

from dnas import Choice, EpochReport, Observer, Run, SearchSettings, Silent, search
from dnas.searching.mixture_history import mixtures_by_epoch


class Watch(Observer):
    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def epoch_ended(self, report: EpochReport) -> None:
        self.seen.append(report.mixtures["op"].values.clone())


def test_the_mixtures_of_a_run_are_those_of_its_epochs(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(Choice("op", {"one": nn.Linear(4, 4), "two": nn.Identity()}), nn.Linear(4, 2))
    data = [(torch.randn(6, 4), torch.randint(0, 2, (6,))) for _ in range(2)]
    watch, settings = Watch(), SearchSettings(epochs=3, relaxation="gumbel", warmup_epochs=0)
    search(model, data, data, settings=settings, run=tmp_path, observers=[watch], display=Silent())
    found = mixtures_by_epoch(Run(tmp_path), settings)
    assert [one.epoch for one in found] == [1, 2, 3]
    assert found[0].decisions["op"].candidates == ("one", "two")
    for one, seen in zip(found, watch.seen, strict=True):
        assert_close(torch.tensor(one.values["op"][0]), seen)
