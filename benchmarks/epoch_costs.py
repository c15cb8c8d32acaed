"""CPU seconds of a supernet's step beside those of a training step of single networks, measured in turns.

    python benchmarks/epoch_costs.py OUT.jsonl [--image_size 16] [--networks 8] [--turns 5]

Small NAS-Bench-201 as in docs/results.md (8 channels, 1 cell per stage, batch 128, one thread), random images. In each
turn the supernet of `default` takes three search steps, one network three training steps and three evaluations of a
batch, for each of the first random architectures. The row has medians over turns, so that other work on the machine
disturbs all alike, and from them how many epochs of an average network 30 epochs of `default` are worth.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import torch
from rows import append_rows
from torch import nn
from torch.nn.functional import cross_entropy

from dnas import Dirichlet, FinalistSettings, NasBench201Space, SearchSettings
from dnas.data import image_kind
from dnas.formats import write_nasbench201
from dnas.jobs.job import Job
from dnas.jobs.planning.trial import Trial
from dnas.training.baseline import draw_random

STEPS, BATCH, EPOCHS = 3, 128, 30
SPACE = NasBench201Space()


def training(network: nn.Module, size: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """A training step and an evaluation of one batch."""
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (BATCH,))
    optimizer = FinalistSettings().weights.build(list(network.parameters()))

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()

    def evaluation() -> None:
        with torch.no_grad():
            network.eval()(images)

    return step, evaluation


def seconds(work: Callable[[], None]) -> float:
    """CPU seconds of one call, the mean of three."""
    started = time.process_time()
    for _ in range(STEPS):
        work()
    return (time.process_time() - started) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--image_size", type=int, default=16)
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = SearchSettings(relaxation=Dirichlet())
    job = Job(space=SPACE, channels=8, cells=1, image_size=given.image_size, batch_size=BATCH, search=settings)
    kind = image_kind(tuple("0123456789"), channels=3, size=given.image_size)
    trial = Trial(job, kind, batch_size=BATCH, device=torch.device("cpu"))
    drawn = [draw_random(SPACE, 0, index) for index in range(given.networks)]
    works: dict[str, Callable[[], None]] = {"supernet": trial.step}
    for one in drawn:
        network = SPACE.network(one, num_classes=10, channels=8, cells=1)
        works[write_nasbench201(one)], works["evaluation of " + write_nasbench201(one)] = training(
            network, given.image_size
        )
    for work in works.values():
        work()  # memory is allocated and kernels are chosen
    turns = [{name: seconds(work) for name, work in works.items()} for _ in range(given.turns)]
    medians = {name: median(turn[name] for turn in turns) for name in works}
    training_step = mean(medians[write_nasbench201(one)] for one in drawn)
    evaluation = mean(medians["evaluation of " + write_nasbench201(one)] for one in drawn)
    worth = EPOCHS * medians["supernet"] / training_step
    row = {"image_size": given.image_size, "turns": given.turns, "medians": medians, "training_step": training_step}
    append_rows(given.out, [{**row, "evaluation": evaluation, "default_in_epochs_of_a_network": worth}])
    print(json.dumps({**row, "evaluation": evaluation, "default_in_epochs_of_a_network": worth}))


if __name__ == "__main__":
    main()
