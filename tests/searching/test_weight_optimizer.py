"""Optimizers of the weights: groups, learning rates, what second order takes, and going on after a stop."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dnas import (
    AlphaAdam,
    Choice,
    Constant,
    Cosine,
    FirstOrder,
    Interrupted,
    Linear,
    OneStep,
    OwnOptimizer,
    RetrainSettings,
    Run,
    SearchSettings,
    Silent,
    UserError,
    Warmup,
    WeightAdamW,
    WeightSGD,
    retrain,
    search,
)
from dnas.system.difference import first_difference
from dnas.system.plain_data import to_plain


def rmsprop(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Two groups with learning rates of their own."""
    return torch.optim.RMSprop([{"params": weights[:1], "lr": 0.02}, {"params": weights[1:], "lr": 0.01}])


def net() -> nn.Module:
    torch.manual_seed(0)
    acts = {"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()}
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), Choice("act", acts), nn.Linear(6, 3)).double()


def batches(count: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 4, generator=generator, dtype=torch.float64), torch.randint(0, 3, (8,), generator=generator))
        for _ in range(count)
    ]


class StopAfter(Silent):
    """Asks for a stop, as Ctrl-C does, after a number of updates."""

    def __init__(self, updates: int):
        self.left = updates

    def update(self, *arguments: Any) -> None:
        self.left -= 1
        if self.left == 0:
            import signal

            signal.raise_signal(signal.SIGINT)


ADAMW = WeightAdamW(lr=Warmup(Cosine(0.1, 0.0), share=0.5))
OWN = OwnOptimizer(rmsprop, schedule=Linear(1.0, 0.1), clip=0.5)


# --- Groups and rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decay_all", "groups"), [(False, [(0.1, 2), (0.0, 4)]), (True, [(0.1, 6)])])
def test_adamw_decays_matrices_alone_unless_all_are_asked_for(decay_all, groups):
    optimizer = WeightAdamW(weight_decay=0.1, decay_all=decay_all).build(list(net().parameters()))
    assert [(group["weight_decay"], len(group["params"])) for group in optimizer.param_groups] == groups
    assert type(optimizer) is torch.optim.AdamW


def test_a_warm_up_multiplies_another_schedule_by_a_line():
    progress = torch.tensor([0.0, 0.1, 0.2, 0.6, 1.0], dtype=torch.float64)
    found = Warmup(Linear(1.0, 0.0), share=0.2, start=0.1)(progress)
    assert_close(found, torch.tensor([0.1, 0.9 * 0.55, 0.8, 0.4, 0.0], dtype=torch.float64))


def test_the_groups_of_an_own_optimizer_keep_the_ratio_of_their_rates():
    weights = list(net().parameters())
    optimizer = OWN.build(weights)
    OWN.assign_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.02 * 0.55, 0.01 * 0.55])
    OWN.assign_lr(optimizer, 1.0, factor=2.0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.004, 0.002])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightAdamW(lr=-0.1), r"lr of the weights must be 0 or more; at the start it is -0.1"),
        (lambda: WeightAdamW(betas=(0.9, 1.0)), r"betas must be from 0 up to below 1"),
        (lambda: WeightAdamW(eps=0.0), r"eps must be over 0"),
        (lambda: WeightAdamW(weight_decay=-1.0), r"weight_decay of the weights must be 0 or more"),
        (lambda: WeightAdamW(clip=0.0), r"clip is a largest gradient norm"),
        (lambda: OwnOptimizer("adam"), r"make must be a .*; got the text 'adam'"),  # type: ignore[arg-type]
        (lambda: OwnOptimizer(rmsprop, schedule=Constant(math.inf)), r"schedule must be 0 or more; at the start"),
        (lambda: OwnOptimizer(lambda weights: 3).build([]), r"must give a torch.optim.Optimizer; it gave a int"),  # type: ignore[arg-type]
        (lambda: OwnOptimizer(torch.optim.LBFGS).build([torch.nn.Parameter(torch.ones(1))]), r"LBFGS .* by a closure"),
        (lambda: Warmup(Constant(1.0), share=0.0), r"share of a warm-up must be over 0"),
        (lambda: Warmup(Constant(1.0), start=2.0), r"start of a warm-up must be from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


# --- In a search and a training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "hypergradient"),
    [(ADAMW, FirstOrder()), (ADAMW, OneStep()), (OWN, FirstOrder())],
    ids=["adamw", "adamw, second order", "own"],
)
def test_a_search_that_was_stopped_goes_on_to_the_same_bits(weights, hypergradient, tmp_path: Path):
    settings = SearchSettings(weights=weights, hypergradient=hypergradient, alphas=AlphaAdam(0.05), epochs=3)

    def searched(folder: str, display: Silent = Silent()) -> Any:
        return search(net(), batches(3, 1), batches(3, 2), settings=settings, run=tmp_path / folder, display=display)

    whole = searched("whole")
    with pytest.raises(Interrupted):
        searched("stopped", StopAfter(4))
    assert Run(tmp_path / "stopped").load_checkpoint("last")["step"] < 9
    again = searched("stopped")
    for name, weight in whole.supernet.weights().items():
        assert torch.equal(weight, again.supernet.weights()[name])
    assert torch.equal(whole.supernet.alphas["act"], again.supernet.alphas["act"])


def test_second_order_refuses_an_optimizer_that_it_cannot_unroll():
    settings = SearchSettings(weights=OWN, hypergradient=OneStep(), epochs=1)
    with pytest.raises(UserError, match="No differentiable step is known for RMSprop"):
        search(net(), batches(2, 1), batches(2, 2), settings=settings)


@pytest.mark.parametrize("weights", [ADAMW, OWN], ids=["adamw", "own"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(weights, tmp_path: Path):
    settings = RetrainSettings(epochs=3, weights=weights, label_smoothing=0.1)

    def trained(folder: str, display: Silent = Silent()) -> nn.Module:
        network = nn.Sequential(*net()[:2], nn.Linear(6, 3).double())  # type: ignore[index]
        return retrain(network, batches(3, 1), settings=settings, run=tmp_path / folder, display=display)

    whole = trained("whole").state_dict()
    with pytest.raises(Interrupted):
        trained("stopped", StopAfter(4))
    again = trained("stopped").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_partial_of_an_optimizer_is_enough():
    weights = OwnOptimizer(partial(torch.optim.NAdam, lr=0.01))
    settings = SearchSettings(weights=weights, epochs=1)
    result = search(net(), batches(2, 1), batches(2, 2), settings=settings)
    assert result.architecture.decisions["act"] in ("tanh", "sigmoid")


# --- In a run folder --------------------------------------------------------------------------------------------------


def test_a_run_names_the_function_of_an_own_optimizer():
    assert to_plain(OWN)["init_args"]["make"] == f"{__name__}.rmsprop"
    assert "0x" not in repr(OWN)


def test_settings_from_before_there_were_other_optimizers_are_alike():
    before = to_plain(SearchSettings())
    before["weights"] = before["weights"]["init_args"]
    assert first_difference(before, SearchSettings()) == ""
    changed = SearchSettings(weights=WeightSGD(momentum=0.5))
    assert first_difference(before, changed) == "weights.momentum is 0.9 there and 0.5 here"
    adamw = SearchSettings(weights=WeightAdamW(Cosine(0.025, 0.001)))
    assert first_difference(before, adamw) == "weights.weight_decay is 0.0003 there and 0.05 here"
