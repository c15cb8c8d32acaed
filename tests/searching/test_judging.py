"""A search judges a whole architecture as the network that it derives, and tells the share of skip connections."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from dnas import (
    Argmax,
    Discretization,
    Evolution,
    Observer,
    Perturbation,
    RandomSampling,
    Relaxation,
    SearchSettings,
    Sigmoid,
    Softmax,
    Supernet,
    UniformPath,
    derive,
    search,
)
from dnas.core.architecture import Architecture
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization.genome import kept
from dnas.searching.observer import EpochReport
from dnas.searching.supernet_measures import evaluate_supernet
from tests.support.method import TRAIN, VAL, Net, initial_alphas, initial_weights
from tests.support.method import new_supernet as problem
from tests.support.method_classes import CLASS_TRAIN, CLASS_VAL

WHOLE: dict[str, Active] = {"cell": ((1,), (2,))}  # scale and tanh
OPEN: dict[str, Active] = {"cell": ((0, 1), (2,))}


@dataclass(frozen=True)
class Judged(Observer):
    """Keeps the losses of one architecture: as the search judges it, derived, and under what the relaxation leaves of
    it; and as the search judges what is still open."""

    found: list[tuple[float, ...]] = field(default_factory=list, compare=False)

    def epoch_ended(self, report: EpochReport) -> None:
        supernet = report.supernet
        network = derive(supernet.model, Architecture(kept(WHOLE, supernet.decisions)))
        derived = [nn.functional.mse_loss(network(batch.inputs), batch.targets) for batch in VAL]
        before = supernet.allowed
        supernet.allowed = WHOLE
        restricted = evaluate_supernet(supernet, supernet.expected(report.relaxation, report.progress), VAL)
        supernet.allowed = before
        self.found.append(
            (
                -report.evaluate(WHOLE),
                torch.stack(derived).mean().item(),
                restricted["loss"],
                -report.evaluate(OPEN),
            )
        )


def judged(relaxation: Relaxation, *, edge_weights: bool) -> tuple[float, ...]:
    observer = Judged()
    settings = SearchSettings(relaxation=relaxation, observers=(observer,), epochs=1, validate_every=0)
    search(problem(edge_weights=edge_weights), TRAIN, VAL, settings=settings)
    return observer.found[0]


@pytest.mark.parametrize(("relaxation", "edge_weights"), [(Sigmoid(), False), (Sigmoid(), True), (Softmax(), True)])
def test_gates_and_weights_of_edges_do_not_weigh_on_a_whole_architecture(relaxation: Relaxation, edge_weights: bool):
    whole, derived, restricted, _ = judged(relaxation, edge_weights=edge_weights)
    assert whole == pytest.approx(derived, rel=1e-12)
    assert abs(restricted / whole - 1) > 0.01  # as it was judged before: another network than the derived one


def test_mixtures_that_compete_give_the_same_number_either_way():
    whole, derived, restricted, still_open = judged(Softmax(), edge_weights=False)
    assert whole == restricted  # bit by bit
    assert whole == pytest.approx(derived, rel=1e-12)
    assert abs(still_open / whole - 1) > 0.01


def accuracy(supernet: Supernet, mixtures: Mapping[str, Mixture]) -> float:
    return evaluate_supernet(supernet, mixtures, CLASS_VAL)["accuracy"]


def new_supernet(edge_weights: bool) -> Supernet:
    """The problem of classes."""
    supernet = Supernet(Net(initial_weights(), edge_weights=edge_weights), nn.functional.cross_entropy)
    with torch.no_grad():
        for name, alpha in supernet.alphas.items():
            alpha.copy_(initial_alphas()[name])
    return supernet


@pytest.mark.parametrize("discretization", [RandomSampling(samples=9), Evolution(population=3, generations=3)])
@pytest.mark.parametrize("edge_weights", [False, True])
def test_what_sampling_finds_is_the_best_derived_network(discretization: Discretization, edge_weights: bool):
    # All nine architectures are evaluated: two edges of three candidates.
    settings = SearchSettings(relaxation=Sigmoid(), discretization=discretization, epochs=1, validate_every=0)
    result = search(new_supernet(edge_weights), CLASS_TRAIN, CLASS_VAL, settings=settings)
    supernet = result.supernet
    values = {
        (first, second): accuracy(
            supernet, supernet.one_hot(Architecture(kept({"cell": ((first,), (second,))}, supernet.decisions)))
        )
        for first in range(3)
        for second in range(3)
    }
    best = max(values, key=lambda pair: values[pair])
    assert result.architecture.decisions == kept({"cell": tuple((k,) for k in best)}, supernet.decisions)


def shares(settings: SearchSettings) -> list[float | None]:
    """Of skip connections, in each epoch of a search that favours one on its first edge."""
    supernet = new_supernet(edge_weights=False)
    with torch.no_grad():
        supernet.alphas["cell"].copy_(torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 5.0]]))
    result = search(supernet, CLASS_TRAIN, CLASS_VAL, settings=settings)
    return [row.get("skip_share") for row in result.metrics]


@pytest.mark.parametrize(
    ("relaxation", "discretization", "expected"),
    [
        (Softmax(), Argmax(), 0.5),
        (Softmax(), Perturbation(epochs_between=0), 0.5),
        (Softmax(), RandomSampling(samples=2), 0.5),
        (UniformPath(), RandomSampling(samples=2), None),  # there are no alphas to look at
    ],
)
def test_every_epoch_tells_the_share_of_skip_connections_where_alphas_are_trained(
    relaxation: Relaxation, discretization: Discretization, expected: float | None
):
    settings = SearchSettings(relaxation=relaxation, discretization=discretization, epochs=2, validate_every=0)
    assert shares(settings) == [expected] * 2
