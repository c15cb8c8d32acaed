"""A search tries everything on its first batch, before it trains anything."""

import pytest
import torch
from torch import nn

import dnas
from dnas.core.batch import Batch
from dnas.core.run import Run
from dnas.searching.first_batch import FirstBatches
from dnas.searching.seeded_batches import seeded_batches
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
    loader = seeded_batches("train", data(), device=torch.device("cpu"), seed=0)
    FirstBatches({"train": loader, "val": loader}).try_all(supernet, 0, Batch(*data()[0]))
    assert all(torch.equal(supernet.model.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)


def labelled(*labels: list[int], dtype: torch.dtype = torch.int64) -> list:
    """Batches of 4 numbers a sample, with these labels."""
    return [(torch.randn(len(of_batch), 4), torch.tensor(of_batch, dtype=dtype)) for of_batch in labels]


GOOD = labelled([0, 1], [1, 0])


@pytest.mark.parametrize("criterion", [None, dnas.Classification()], ids=["loss alone", "task"])
@pytest.mark.parametrize("labels", [[0, 2], [-1, 0]])
def test_a_label_out_of_range_is_named_with_loader_and_batch(criterion, labels):
    task = {} if criterion is None else {"task": criterion}
    for train, val, name in ((labelled(labels), GOOD, "train"), (GOOD, labelled(labels), "val")):
        with pytest.raises(UserError, match=rf"1 of 2 targets are no class.* This is batch 0 of {name} \(epoch 0\)"):
            dnas.search(model(nn.Identity()), train, val, settings=SETTINGS, **task)
    with pytest.raises(UserError, match=r"Batch 1 of train \(epoch 0\) cannot be used: 1 of its 2 labels"):
        dnas.search(model(nn.Identity()), [GOOD[0], *labelled(labels)], GOOD, settings=SETTINGS, **task)


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
def test_labels_of_another_type_are_named_with_loader_and_batch(dtype):
    data = labelled([0, 1], dtype=dtype)
    with pytest.raises(UserError, match=rf"{dtype}.* This is batch 0 of val"):
        dnas.search(model(nn.Identity()), GOOD, data, settings=SETTINGS)


@pytest.mark.parametrize("inputs", [torch.zeros(2, 4).double(), torch.zeros(2, 4).long(), torch.zeros(2, 5)])
def test_inputs_of_another_type_or_shape_are_named_with_loader_and_batch(inputs):
    with pytest.raises(UserError, match=r"cannot take the inputs.* This is batch 0 of train"):
        dnas.search(model(nn.Identity()), [(inputs, GOOD[0][1])], GOOD, settings=SETTINGS)
    with pytest.raises(UserError, match=r"Batch 1 of train .*differs from the first batch"):
        dnas.search(model(nn.Identity()), [GOOD[0], (inputs, GOOD[0][1])], GOOD, settings=SETTINGS)


@pytest.mark.parametrize("loader", ["train", "val"])
def test_a_search_stops_at_the_step_whose_inputs_are_not_finite_and_says_so(loader, tmp_path):
    bad = [GOOD[0], (torch.tensor([[0.0, 0, 0, 0], [0, float("nan"), 0, 0]]), GOOD[0][1])]
    data = {"train": GOOD, "val": GOOD, loader: bad}
    settings = dnas.SearchSettings(epochs=2, warmup_epochs=0, log_every=50)
    words = rf"at step 2 .*batch 1 of {loader} \(epoch 0\): its inputs hold NaN or infinity in 1 of 2 samples"
    with pytest.raises(dnas.NonFiniteLoss, match=words):
        dnas.search(model(nn.Identity()), data["train"], data["val"], settings=settings, run=tmp_path / "run")
    assert not Run(tmp_path / "run").checkpoint_path("last").exists()


def test_a_loss_that_diverges_on_finite_inputs_says_that_they_are_finite():
    settings = dnas.SearchSettings(epochs=1, warmup_epochs=0)
    with pytest.raises(dnas.NonFiniteLoss, match=r"at step 1 .*The inputs of batch 0 of train \(epoch 0\) are finite"):
        dnas.search(model(nn.Identity()), GOOD, GOOD, criterion=lambda o, t: o.sum() * float("inf"), settings=settings)
