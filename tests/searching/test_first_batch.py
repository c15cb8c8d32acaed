"""A search tries everything on its first batch, before it trains anything."""

import pytest
import torch
from torch import nn

import dnas
from dnas.core.batch import Batch
from dnas.core.run import Run
from dnas.searching.first_batch import try_batch
from dnas.system.errors import UserError

SETTINGS = dnas.SearchSettings(epochs=1, warmup_epochs=0)


def data(targets: torch.Tensor | None = None) -> list:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 4, generator=generator)
    return [(x, (x.sum(1) > 0).long() if targets is None else targets)]


def model(candidate: nn.Module, width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.BatchNorm1d(4), dnas.Choice("c", {"a": nn.Linear(4, 4), "b": candidate}), nn.Linear(width, 2)
    )


def test_candidates_of_other_shapes_are_refused_before_a_weight_moves(tmp_path):
    net = model(nn.Linear(4, 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(UserError, match=r"choice 'c' .*'a' gives a tensor \(8, 4\).*'b' gives a tensor \(8, 1\)"):
        dnas.search(net, data(), data(), settings=SETTINGS, run=Run(tmp_path))
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert not Run(tmp_path).metrics_path.exists()


def test_a_model_that_cannot_take_the_inputs_is_named_with_them():
    with pytest.raises(UserError, match=r"The model Sequential cannot take the inputs, a tensor \(8, 4\) of"):
        dnas.search(model(nn.Identity(), width=3), data(), data(), settings=SETTINGS)


def test_a_criterion_of_another_arity_is_named():
    def three(outputs, targets, more):
        return outputs.sum()

    with pytest.raises(UserError, match=r"The criterion .*three cannot take two arguments, outputs, a tensor \(8, 2\)"):
        dnas.search(model(nn.Identity()), data(), data(), criterion=three, settings=SETTINGS)


def test_targets_that_do_not_fit_the_outputs_are_refused():
    targets = data(torch.zeros(8, 3))
    with pytest.raises(UserError, match=r"cannot take two arguments, .*targets, a tensor \(8, 3\)"):
        dnas.search(model(nn.Identity()), targets, targets, settings=SETTINGS)
    with pytest.raises(UserError, match=r"A regression must give one number for each target"):
        dnas.search(model(nn.Identity()), targets, targets, task=dnas.Regression(), settings=SETTINGS)


def test_a_trial_leaves_weights_buffers_and_random_state_as_they_were():
    supernet = dnas.Supernet(nn.Sequential(model(nn.Dropout(0.5)), nn.BatchNorm1d(2), nn.Dropout(0.5)))
    before = {name: value.clone() for name, value in supernet.model.state_dict().items()}
    state = torch.get_rng_state()
    try_batch(supernet, Batch(*data()[0]))
    assert all(torch.equal(supernet.model.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)
