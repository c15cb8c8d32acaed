"""The recurrent state goes from batch to batch, and begins anew with every epoch."""

import copy
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from dnas.core.choice import Choice
from dnas.data.carried import CarriedBatches
from dnas.data.cycle import Cycle
from dnas.data.text import TextBatches
from dnas.method.hypergradient import FirstOrder, OneStep
from dnas.searching.search_step import search_step
from dnas.searching.supernet import Supernet

ROWS = 2
START = torch.zeros(ROWS, 1)


class Summing(nn.Module):
    """Its state is the sum of all tokens so far, times a weight of 1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.choice = Choice("choice", {"a": nn.Identity(), "b": nn.Tanh()})

    def forward(self, tokens_TB: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        state = carry + self.weight * tokens_TB.sum(0)[:, None].float()
        return self.choice(state), state


def batches(count: int = 41) -> TextBatches:
    return TextBatches(torch.arange(count), batch_size=ROWS, bptt=4)


def carried(model: nn.Module, name: str = "train") -> CarriedBatches:
    return CarriedBatches(batches(), model, name=name, start=START)


def sums(epoch: list) -> list[list[float]]:
    """What a state that went from batch to batch is before each of them."""
    totals = [torch.zeros(ROWS)]
    for batch in epoch:
        totals.append(totals[-1] + batch.inputs.sum(0))
    return [total.tolist() for total in totals[:-1]]


def test_each_batch_gets_the_state_that_the_last_one_left_and_an_epoch_begins_at_zero():
    model = Summing()
    data = carried(model)
    for epoch in range(2):
        seen = []
        for batch in data.epoch(epoch):
            seen.append(batch.carry.flatten().tolist())
            model(batch.inputs, batch.carry)
            assert not batch.carry.requires_grad
        assert seen == sums(list(batches().epoch(epoch)))


def test_calls_with_other_inputs_leave_the_state_alone():
    model = Summing()
    train, val = carried(model), carried(model, "val")
    seen = []
    for mine, other in zip(train.epoch(0), val.epoch(0), strict=True):
        seen.append(mine.carry.flatten().tolist())
        model(mine.inputs, mine.carry)
        model(mine.inputs + 1, mine.carry)
        model(other.inputs, other.carry + 100)
    assert seen == sums(list(batches().epoch(0)))


@pytest.mark.parametrize("hypergradient", [FirstOrder(), OneStep()])
def test_search_steps_carry_the_states_of_both_streams(hypergradient):
    model = Summing()
    supernet = Supernet(model, lambda outputs, targets: outputs.square().mean() * 1e-9)
    train, val = Cycle(carried(model)), Cycle(carried(model, "val"))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-12)
    alphas = torch.optim.Adam(supernet.alpha_parameters(), lr=1e-3)
    length = len(batches())
    seen: dict[str, list] = {"train": [], "val": []}
    for step in range(2 * length):
        weight_batch, alpha_batch = train.batch(step), val.batch(step)
        seen["train"].append(weight_batch.carry.flatten().tolist())
        seen["val"].append(alpha_batch.carry.flatten().tolist())
        search_step(
            supernet,
            weight_batch=weight_batch,
            weight_optimizer=optimizer,
            alpha_batch=alpha_batch,
            alpha_optimizer=alphas,
            hypergradient=hypergradient,
        )
    for found in seen.values():  # the weight moves by next to nothing
        assert found[:length] == found[length:] == sums(list(batches().epoch(0)))


def test_a_model_from_a_checkpoint_goes_on_in_the_middle_of_an_epoch():
    model = Summing()
    data = carried(model)
    for batch in islice(data.epoch(0), 2):
        model(batch.inputs, batch.carry)
    other = Summing()
    again = carried(other)
    other.load_state_dict(model.state_dict())
    expected = sums(list(batches().epoch(0)))[2]
    assert next(again.epoch(0, start=2)).carry.flatten().tolist() == expected
    assert next(again.epoch(0)).carry.flatten().tolist() == [0.0, 0.0]


def test_a_copy_of_the_model_does_not_touch_the_stream_and_release_takes_all_away():
    model = Summing()
    data = carried(model)
    stream = data.epoch(0)
    batch = next(stream)
    model(batch.inputs, batch.carry)
    before = model.carry_train.clone()
    copied = copy.deepcopy(model)
    copied(batch.inputs + 1, batch.carry)
    assert torch.equal(model.carry_train, before)
    data.release()
    assert not list(model.named_buffers()) and not model._forward_hooks
    carried(model)  # the name is free again


def test_two_streams_of_one_name_are_refused():
    model = Summing()
    carried(model)
    with pytest.raises(ValueError, match="every stream needs its own name"):
        carried(model)
