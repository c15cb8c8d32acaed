"""Candidates that give more than one tensor, and what candidates of one choice must have in common."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from dnas import Choice, Mixture, Zero
from dnas.core.batch import Batch, map_tensors, to_device
from dnas.core.candidate_trial import check_candidates
from dnas.system.errors import UserError


def packed(seed: int = 0) -> PackedSequence:
    generator = torch.Generator().manual_seed(seed)
    return pack_sequence([torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 2, 1)])


def with_mixture(choice: Choice, *values: float) -> Choice:
    choice.bind({choice.decision.name: Mixture(torch.tensor(values, dtype=torch.float64))})
    return choice


def test_variants_of_a_recurrent_layer_are_mixed_entry_by_entry():
    torch.manual_seed(0)
    a, b = (nn.LSTM(3, 5, num_layers=n).double() for n in (1, 1))
    choice = with_mixture(Choice("rnn", {"a": a, "b": b}), 0.25, 0.75)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    output, (h, c) = choice(x)
    (one, (h1, c1)), (two, (h2, c2)) = a(x), b(x)
    for mixed, first, second in ((output, one, two), (h, h1, h2), (c, c1, c2)):
        assert torch.equal(mixed, 0.25 * first + 0.75 * second)


def test_packed_sequences_are_mixed_by_their_data():
    torch.manual_seed(0)
    a, b = nn.GRU(3, 3).double(), nn.GRU(3, 3).double()
    x = packed()
    output, _ = with_mixture(Choice("rnn", [a, b]), 0.5, 0.5)(x)
    assert isinstance(output, PackedSequence)
    torch.testing.assert_close(output.data, 0.5 * a(x)[0].data + 0.5 * b(x)[0].data, rtol=0, atol=1e-15)
    assert torch.equal(output.batch_sizes, x.batch_sizes)


class Pair(NamedTuple):
    value: Tensor
    index: Tensor


def test_whole_numbers_and_none_stay_as_they_are_and_names_are_kept():
    class Gives(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> dict[str, object]:
            return {"pair": Pair(self.factor * x, torch.arange(3)), "none": None, "list": [x]}

    x = torch.ones(3, dtype=torch.float64)
    found = with_mixture(Choice("c", {"a": Gives(1.0), "b": Gives(3.0)}), 0.5, 0.5)(x)
    assert isinstance(found["pair"], Pair)
    assert torch.equal(found["pair"].value, 2 * x)
    assert torch.equal(found["pair"].index, torch.arange(3))
    assert found["none"] is None
    assert torch.equal(found["list"][0], x)


def test_gradients_flow_to_mixture_and_candidates_through_tuples():
    choice = Choice("rnn", {"a": nn.GRU(2, 2).double(), "b": nn.GRU(2, 2).double()})
    values = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    choice.bind({"rnn": Mixture(values)})
    x = torch.randn(3, 1, 2, dtype=torch.float64)
    output, state = choice(x)
    (output.sum() + state.sum()).backward()
    with torch.no_grad():
        expected = [float(c(x)[0].sum() + c(x)[1].sum()) for c in choice.candidates]
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx(expected, rel=1e-12)


def test_a_packed_sequence_is_one_input_and_counts_its_sequences():
    batch = Batch(packed(), torch.zeros(3))
    assert batch.num_samples == 3
    assert batch.arguments == ((batch.inputs,), {})
    moved = to_device(batch.inputs, torch.device("cpu"))
    assert torch.equal(moved.data, batch.inputs.data)
    assert torch.equal(map_tensors(lambda x: 2 * x, batch.inputs).data, 2 * batch.inputs.data)


# The trial


def call(x: object):
    return lambda model: model(x)


def test_candidates_of_other_shapes_are_refused_with_what_each_gave():
    model = nn.Sequential(Choice("width", {"narrow": nn.Linear(4, 8), "wide": nn.Linear(4, 16)}))
    message = (
        r"choice 'width' must give the same shapes and types.*'narrow' gives a tensor \(2, 8\) of torch.float32; "
        r"'wide' gives a tensor \(2, 16\)"
    )
    with pytest.raises(UserError, match=message):
        check_candidates(model, call(torch.zeros(2, 4)))


def test_candidates_that_would_broadcast_are_refused():
    with pytest.raises(UserError, match="'one' gives a tensor"):
        check_candidates(Choice("c", {"all": nn.Identity(), "one": nn.Linear(4, 1)}), call(torch.zeros(2, 4)))


def test_candidates_of_other_structures_are_refused():
    choice = Choice("r", {"lstm": nn.LSTM(2, 2), "gru": nn.GRU(2, 2)})
    with pytest.raises(UserError, match=r"'lstm' gives a tuple of .*'gru' gives a tuple of"):
        check_candidates(choice, call(torch.zeros(3, 1, 2)))


def test_a_candidate_that_cannot_take_the_input_is_named():
    choice = Choice("c", {"fits": nn.Linear(4, 4), "odd": nn.Linear(3, 4)})
    with pytest.raises(UserError, match=r"Candidate 'odd' of choice 'c' cannot take .*a tensor \(2, 4\)"):
        check_candidates(choice, call(torch.zeros(2, 4)))


def test_a_choice_inside_a_candidate_is_tried_too():
    inner = Choice("inner", {"a": nn.Linear(4, 4), "b": nn.Linear(4, 5)})
    with pytest.raises(UserError, match="choice 'inner'"):
        check_candidates(Choice("outer", {"x": nn.Identity(), "y": inner}), call(torch.zeros(2, 4)))


def test_nothing_takes_any_shape():
    check_candidates(Choice("c", {"none": Zero(), "a": nn.Linear(4, 5)}), call(torch.zeros(2, 4)))


def test_a_trial_leaves_no_trace():
    model = nn.Sequential(Choice("c", {"a": nn.BatchNorm1d(4), "b": nn.Dropout(0.5)}), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check_candidates(model, call(torch.randn(8, 4, generator=torch.Generator().manual_seed(0))))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in model.modules())


# What a choice takes


def test_candidates_of_a_list_are_called_by_their_classes():
    assert Choice("act", [nn.ReLU(), nn.Tanh()]).decision.candidates == ("0_ReLU", "1_Tanh")


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"a": (nn.Linear(2, 2), nn.ReLU())}, r"Candidate 'a' of choice 'c' must be an nn.Module; .* nn.Sequential"),
        ({"a": "relu"}, "got a str"),
        ("relu", "mapping of names to modules"),
        (3, "got a int"),
    ],
)
def test_what_is_no_module_is_refused(candidates, message):
    with pytest.raises(UserError, match=message):
        Choice("c", candidates)
