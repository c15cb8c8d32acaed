"""The plain reference computes what our supernet computes, and the benchmark runs."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks are not installed with the package

from benchmarks import reference, search_step  # noqa: E402
from dnas.batch import Batch  # noqa: E402
from dnas.relaxation import Softmax  # noqa: E402
from dnas.space import NasBench201Space  # noqa: E402
from dnas.supernet import Supernet  # noqa: E402

FIRST = search_step.Setup("cpu", threads=1, batch=4, channels=4, cells=3, size=8, second_order=False)
SECOND = search_step.Setup("cpu", threads=1, batch=4, channels=4, cells=3, size=8, second_order=True)


def both(setup: search_step.Setup = FIRST) -> tuple[Supernet, reference.ReferenceSupernet]:
    supernet, plain = search_step.our_supernet(setup, torch.float64), search_step.plain_supernet(setup)
    plain.load_from(supernet.model, supernet.alpha_parameters())
    return supernet, plain


def assert_all_close(mine: Sequence[Tensor | None], theirs: Sequence[Tensor | None], tolerance: float) -> None:
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert a is not None
        assert b is not None
        assert_close(a, b, rtol=tolerance, atol=tolerance * b.detach().abs().max().item())


def test_the_reference_has_the_published_number_of_parameters_and_no_alphas_among_them():
    plain = reference.ReferenceSupernet(channels=16, cells=8, num_classes=10)
    assert sum(parameter.numel() for parameter in plain.parameters()) == 1_930_618
    assert [alpha.shape for alpha in plain.alphas] == [(14, 8), (14, 8)]


def test_outputs_loss_and_all_gradients_are_equal():
    supernet, plain = both()
    images, targets = search_step.random_batches(FIRST, 4, torch.float64)[0]
    weights = supernet.weights()
    loss, aux = supernet.loss(weights, supernet.sample(Softmax(), torch.tensor(0.0)), Batch(images, targets))
    ours = torch.autograd.grad(loss, [*weights.values(), *supernet.alpha_parameters()])

    logits = plain(images)
    plain_loss = F.cross_entropy(logits, targets)
    theirs = torch.autograd.grad(plain_loss, [*plain.parameters(), *plain.alphas])

    assert_all_close([aux.outputs, loss], [logits, plain_loss], 1e-10)
    assert_all_close(ours, theirs, 1e-10)


def test_the_architecture_gradient_without_weight_gradients_is_equal():
    supernet, plain = both()
    images, targets = search_step.random_batches(FIRST, 4, torch.float64)[0]
    frozen = {name: weight.detach() for name, weight in supernet.weights().items()}
    loss, _ = supernet.loss(frozen, supernet.sample(Softmax(), torch.tensor(0.0)), Batch(images, targets))
    plain.loss(images, targets).backward()
    assert_all_close(
        torch.autograd.grad(loss, supernet.alpha_parameters()), [alpha.grad for alpha in plain.alphas], 1e-10
    )


@pytest.mark.parametrize("setup", [FIRST, SECOND], ids=["first order", "second order"])
def test_whole_search_steps_are_equal(setup: search_step.Setup):
    supernet, model = both(setup)
    ours, plain = search_step.our_search(supernet, setup), search_step.plain_search(model, setup)
    before = [alpha.detach().clone() for alpha in ours.alphas]
    val, train = search_step.random_batches(setup, 4, torch.float64)
    for _ in range(2):  # the second has a momentum to start from
        assert_all_close([ours.step(val, train)], [plain.step(val, train)], 1e-9)
        assert_all_close(ours.alpha_gradients(), plain.alpha_gradients(), 1e-9)
        assert_all_close(ours.alphas, plain.alphas, 1e-9)
        assert_all_close(ours.weights, plain.weights, 1e-9)
    assert all((alpha != start).all() for alpha, start in zip(ours.alphas, before, strict=True))


def test_first_and_second_order_are_different_steps():
    gradients = []
    for setup in (FIRST, SECOND):
        search = search_step.plain_search(both(setup)[1], setup)
        search.step(*search_step.random_batches(setup, 4, torch.float64))
        gradients.append(search.alpha_gradients()[0])
    assert search_step.relative(gradients[:1], gradients[1:]) > 1e-3


def test_the_benchmark_notices_a_difference():
    supernet, plain = both()
    assert search_step.relative(list(supernet.model.parameters()), list(plain.parameters())) == 0
    with torch.no_grad():
        next(plain.parameters())[0, 0, 0, 0] += 1e-6
    assert search_step.relative(list(supernet.model.parameters()), list(plain.parameters())) > search_step.TOLERANCE


def test_weights_of_another_model_are_refused():
    plain = search_step.plain_supernet(FIRST)
    with pytest.raises(ValueError, match="parameters, the reference"):
        plain.load_from(NasBench201Space().model(channels=4, cells=1, num_classes=10), plain.alphas)
    wide = reference.ReferenceSupernet(channels=8, cells=3, num_classes=10)
    with pytest.raises(ValueError, match=r"stem.0.weight is \(12, 3, 3, 3\) here"):
        plain.load_from(wide, wide.alphas)


@pytest.mark.slow
def test_the_command_proves_measures_and_writes_json(tmp_path: Path):
    result = tmp_path / "result.json"
    options = {"threads": 1, "batch": 2, "channels": 2, "cells": 3, "size": 8, "repeats": 1, "json": result}
    command = [sys.executable, str(ROOT / "benchmarks" / "search_step.py"), "--second-order"]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "times as fast" in done.stdout
    numbers = json.loads(result.read_text())
    assert max(numbers["differences"].values()) < search_step.TOLERANCE
    assert all(numbers["measured"][variant]["median"] > 0 for variant in search_step.VARIANTS)
