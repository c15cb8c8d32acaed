"""Steps whose numbers are not finite are left out as if their batches had not been there, up to a number of them."""

import math

import pytest
import torch
from torch import Tensor, nn

import dnas
from dnas.core.batch import Batch
from dnas.core.run import Run
from dnas.data.carried import ContinuedBatches
from dnas.data.iterable_batches import IterableBatches
from dnas.language.settings import LanguageTraining
from dnas.system.errors import NonFiniteLoss, UserError

DRAWN = torch.Generator().manual_seed(0)
GOOD = [(torch.randn(6, 4, generator=DRAWN, dtype=torch.float64), torch.tensor([0, 1, 2] * 2)) for _ in range(3)]
NAN_INPUTS = (GOOD[0][0] * math.nan, GOOD[0][1])
BAD_TARGETS = (GOOD[0][0] + 1, torch.full((6,), 2))  # on which the criteria below are not finite


def infinite(outputs: Tensor, targets: Tensor) -> Tensor:
    loss = nn.functional.cross_entropy(outputs, targets)
    return loss * math.inf if bool((targets == 2).all()) else loss


def steep(outputs: Tensor, targets: Tensor) -> Tensor:
    """A finite loss, whose gradient is infinite on bad targets."""
    loss = nn.functional.cross_entropy(outputs, targets)
    return loss + (outputs - outputs.detach()).abs().sum().sqrt() if bool((targets == 2).all()) else loss


KINDS = {"inputs": (NAN_INPUTS, infinite), "loss": (BAD_TARGETS, infinite), "gradient": (BAD_TARGETS, steep)}
SGD = dnas.WeightSGD(lr=dnas.Constant(0.1), momentum=0.9)
ADAM = dnas.WeightAdamW(lr=dnas.Constant(0.1))


def network(middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), middle, nn.Linear(5, 3)).double()


def trained(data, criterion, weights, *, skip: int, run: Run | None = None, epochs: int = 2) -> dict[str, Tensor]:
    settings = dnas.RetrainSettings(epochs=epochs, weights=weights, skip_non_finite=skip, precision="float32")
    found = dnas.retrain(network(nn.ReLU()), data, criterion=criterion, settings=settings, run=run)
    return found.state_dict()


def searched(train, val, criterion, *, skip: int, run=None, **settings) -> tuple[dict[str, Tensor], dnas.SearchResult]:
    model = network(dnas.Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}))
    chosen = dnas.SearchSettings(**{"epochs": 2, "weights": SGD, **settings}, skip_non_finite=skip)
    found = dnas.search(model, train, val, criterion=criterion, settings=chosen, validation=GOOD[:1], run=run)
    return {**found.supernet.model.state_dict(), **found.supernet.alphas}, found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one) and set(one) == set(other)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("weights", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_leaves_out_a_batch_is_the_one_without_it(kind, weights, place):
    bad, criterion = KINDS[kind]
    with_bad = [*GOOD[:place], bad, *GOOD[place:]]
    assert same(trained(with_bad, criterion, weights, skip=2), trained(GOOD, criterion, weights, skip=0))


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_search_that_leaves_out_a_batch_of_the_weights_is_the_one_without_it(kind, place):
    bad, criterion = KINDS[kind]
    with_bad = [*GOOD[:place], bad, *GOOD[place:]]
    found, result = searched(with_bad, GOOD[:1], criterion, skip=2)
    assert same(found, searched(GOOD, GOOD[:1], criterion, skip=0)[0])
    assert [row["skipped_steps"] for row in result.metrics] == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_leaves_out_a_step_whose_batch_of_the_alphas_is_bad(kind):
    bad, criterion = KINDS[kind]
    found, _ = searched(GOOD[:2], [GOOD[2], bad], criterion, skip=2)
    assert same(found, searched(GOOD[:1], GOOD[2:], criterion, skip=0)[0])


def test_the_state_that_is_handed_on_is_that_before_the_batch():
    class Carrying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(nn.ReLU())

        def forward(self, inputs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
            return self.inner(inputs + carry), carry + inputs.mean()

    def weights(data, skip: int) -> dict[str, Tensor]:
        batches = ContinuedBatches(IterableBatches([Batch(*pair) for pair in data]), torch.zeros(1).double())
        settings = dnas.RetrainSettings(epochs=2, weights=SGD, skip_non_finite=skip)
        return dnas.retrain(Carrying(), batches, criterion=infinite, settings=settings).state_dict()

    assert same(weights([GOOD[0], BAD_TARGETS, *GOOD[1:]], 2), weights(GOOD, 0))


def test_the_number_is_told_kept_and_goes_on_with_the_run(tmp_path):
    run, data = Run(tmp_path), [*GOOD, NAN_INPUTS]
    with pytest.raises(
        NonFiniteLoss, match=r"at or before step 8: .* 1 step had been left out.*skip_non_finite \(now 1"
    ):
        trained(data, infinite, SGD, skip=1, run=run)
    assert run.load_checkpoint("last")["skipped"] == 1
    trained(data, infinite, SGD, skip=3, run=run)
    assert run.load_json("retrain")["skipped_steps"] == 2
    assert [row["skipped_steps"] for row in run.metrics() if row["phase"] == "epoch"] == [1, 2]


def test_a_search_tells_which_step_it_leaves_out_and_its_summary_has_the_number(tmp_path):
    said: list[str] = []

    class Heard(dnas.Silent):
        def say(self, text: str) -> None:
            said.append(text)

    class Ways(nn.Module):
        """A choice of an operation and one of an input, between which a perturbation trains on."""

        def __init__(self) -> None:
            super().__init__()
            self.act = dnas.Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})
            self.way = dnas.InputChoice("way", ["through", "past"])

        def forward(self, x: Tensor) -> Tensor:
            return self.way(self.act(x), x)

    settings = dnas.SearchSettings(epochs=1, skip_non_finite=9, discretization=dnas.Perturbation(epochs_between=1))
    data = [GOOD[0], NAN_INPUTS]
    dnas.search(network(Ways()), data, GOOD[:1], settings=settings, run=tmp_path, display=Heard())
    of_search, *of_tuning = [line for line in said if line.startswith("A step is left out")]
    assert of_search == (
        "A step is left out (1 of at most 9). Batch 1 of train (epoch 0): its inputs hold NaN or infinity in 6 of 6 "
        "samples, the first is sample 0."
    )
    assert len(of_tuning) == 1
    assert Run(tmp_path).load_json("search")["skipped_steps"] == 2


def test_an_epoch_in_which_all_batches_are_bad_ends_it_whatever_the_number_is():
    words = r"in epoch 0: all its steps were left out\. 2 steps had been"
    with pytest.raises(NonFiniteLoss, match=words):
        trained([NAN_INPUTS] * 2, infinite, SGD, skip=1000)
    with pytest.raises(NonFiniteLoss, match=words):
        searched([NAN_INPUTS] * 2, GOOD[:1], infinite, skip=1000)


@pytest.mark.parametrize("settings", [dnas.SearchSettings, dnas.RetrainSettings, LanguageTraining])
def test_a_negative_number_is_refused(settings):
    with pytest.raises(UserError, match="skip_non_finite must be 0"):
        settings(skip_non_finite=-1)
