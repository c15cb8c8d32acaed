"""A search whose loss moves nothing is refused at its first step."""

import pytest
import torch
from torch import nn

import dnas
from dnas import Choice
from dnas.system.errors import UserError

DATA = [(torch.randn(8, 4), torch.arange(8) % 2) for _ in range(2)]
cross_entropy = nn.functional.cross_entropy


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))


class Detached(Net):
    def forward(self, input):
        return super().forward(input).detach()


@pytest.mark.parametrize(
    "criterion",
    [
        lambda outputs, targets: cross_entropy(outputs.detach(), targets),
        lambda outputs, targets: cross_entropy(outputs, targets).detach(),
        lambda outputs, targets: (outputs.argmax(1) != targets).sum(),
        lambda outputs, targets: {"loss": cross_entropy(outputs, targets).detach()},
    ],
)
@pytest.mark.parametrize("one_level", [False, True])
def test_a_criterion_without_a_gradient_is_refused(criterion, one_level: bool):
    settings = dnas.SearchSettings(epochs=1, one_level=one_level)
    with pytest.raises(UserError, match=r"The criterion's loss has no gradient.*leave out detach"):
        dnas.search(Net(), DATA[:1], DATA[1:], criterion=criterion, settings=settings)


def test_a_model_whose_outputs_have_no_gradient_is_refused():
    with pytest.raises(UserError, match="The model's outputs have no gradient"):
        dnas.search(Detached(), DATA[:1], DATA[1:], settings=dnas.SearchSettings(epochs=1))
