"""The plain reference computes what our supernet computes, and the benchmark runs."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks are not installed with the package

from benchmarks import intervals, operators, quality_by_compute, reference, retrain, search_step, whole_search  # noqa: E402
from dnas.core.batch import Batch  # noqa: E402
from dnas.kernels.choice import why_none_on  # noqa: E402
from dnas.method.relaxation import Softmax  # noqa: E402
from dnas.searching.supernet import Supernet  # noqa: E402
from dnas.space import NasBench201Space  # noqa: E402
from dnas.space.kernel_cells import KernelCell  # noqa: E402

FIRST = search_step.Setup("cpu", threads=1, batch=4, channels=4, cells=3, size=8, second_order=False)
SECOND = search_step.Setup("cpu", threads=1, batch=4, channels=4, cells=3, size=8, second_order=True)
PARTIAL = replace(FIRST, partial_channels=2)
HARD = replace(FIRST, relaxation="hard")
RETRAIN = retrain.Setup("cpu", threads=1, batch=2, channels=4, cells=3, size=32, precision="float32", capture=False)


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


@pytest.mark.parametrize("setup", [FIRST, SECOND, PARTIAL], ids=["first order", "second order", "partial channels"])
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


def test_with_compiled_kernels_a_step_equals_that_of_the_reference():
    pytest.importorskip("numba")
    setup = replace(FIRST, channels=8, kernels="auto")
    assert any(isinstance(module, KernelCell) for module in both(setup)[0].model.modules())
    assert max(search_step.differences(setup).values()) < search_step.TOLERANCE


def test_the_network_that_was_drawn_is_what_a_hard_sample_computes():
    assert max(search_step.differences(HARD).values()) < search_step.TOLERANCE


def test_two_draws_are_two_networks():
    supernet = search_step.our_supernet(HARD, torch.float64)
    sizes = [
        sum(weight.numel() for weight in search_step.drawn_network(supernet, draw).parameters())
        for draw in (search_step.drawn(supernet, seed=seed) for seed in (0, 1))
    ]
    assert sizes[0] != sizes[1]


def test_bf16_changes_a_step_and_float32_does_not():
    assert search_step.precision_differences(FIRST)["training loss"] == 0
    found = search_step.precision_differences(replace(FIRST, precision="bf16"))
    assert 0 < found["training loss"] < search_step.LOSS_BOUNDS["bf16"]


def test_the_plain_training_loop_computes_what_retrain_computes():
    assert max(retrain.differences(RETRAIN).values()) < retrain.TOLERANCE


def test_the_benchmark_of_retraining_notices_another_drop_path(monkeypatch: pytest.MonkeyPatch):
    settings = RETRAIN.settings("float32", capture=False, epochs=2)
    monkeypatch.setattr(retrain.Setup, "settings", lambda *_, **__: replace(settings, drop_path=0.0))
    assert retrain.differences(RETRAIN)["weights"] > retrain.TOLERANCE


def test_the_plain_network_has_no_convolution_of_ours():
    plain = retrain.PlainNetwork(retrain.evaluation_network(RETRAIN, torch.float32))
    kinds = {type(module).__name__ for module in plain.modules()}
    assert "Conv2d" in kinds and "DepthwiseConv" not in kinds


def test_seconds_per_epoch_are_differences_of_what_the_metrics_add_up():
    rows = [{"phase": "step"}, *({"phase": "epoch", "seconds": seconds} for seconds in (2.0, 5.0))]
    assert whole_search.seconds_per_epoch(rows) == [2.0, 3.0]


def run_script(name: str, *options: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=280).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("--second-order", "--partial-channels=2"), ("--relaxation=hard", "--precision=bf16")]
)
def test_a_search_step_is_proved_and_measured_and_written_as_json(options: tuple[str, str], tmp_path: Path):
    result, hard = tmp_path / "result.json", "--relaxation=hard" in options
    sizes = ["--threads=1", "--batch=4", "--channels=4", "--cells=3", "--size=8", "--repeats=1"]
    printed = run_script("search_step.py", *sizes, *options, f"--json={result}")
    assert "equal in float64" in printed
    assert ("ours over one step of the sampled network" in printed) == hard
    assert ("times as fast" in printed) != hard
    numbers = json.loads(result.read_text())
    assert max(numbers["differences"].values()) < search_step.TOLERANCE
    variants = search_step.HARD_VARIANTS if hard else search_step.VARIANTS
    assert all(numbers["measured"][variant]["median"] > 0 for variant in variants)


@pytest.mark.slow
def test_retraining_is_measured(tmp_path: Path):
    result = tmp_path / "result.json"
    sizes = ["--threads=1", "--batch=2", "--channels=4", "--cells=3", "--repeats=1"]
    kernels = [] if why_none_on("cpu") else ["--kernels=auto", "--precision=float32"]
    printed = run_script("retrain.py", *sizes, *kernels, f"--json={result}")
    assert "times as fast as the plain loop" in printed
    assert json.loads(result.read_text())["warm_up"] == retrain.WARMUP


@pytest.mark.slow
def test_a_whole_search_goes_in_parts_and_says_what_it_extrapolates(tmp_path: Path):
    sizes = ["--num-images=40", "--size=8", "--batch=8", "--channels=2", "--cells=3", "--epochs=3"]
    first = run_script("whole_search.py", str(tmp_path / "run"), *sizes, "--epochs-now=1")
    assert "1 of 3 epochs ran" in first and "the other 2 extrapolated" in first
    rest = run_script("whole_search.py", str(tmp_path / "run"), *sizes)
    assert "3 of 3 epochs ran" in rest and "extrapolated" not in rest


def test_ours_calls_fewer_operators_than_the_reference():
    totals = {name: operators.counted(step).counts.total() for name, step in operators.steps(FIRST).items()}
    assert 0 < totals["ours"] < totals["reference"]


def test_a_hard_sample_calls_fewer_convolutions_than_the_supernet():
    soft, hard = (operators.counted(operators.steps(setup)["ours"]).counts for setup in (FIRST, HARD))
    assert hard["convolution"] < soft["convolution"] / 2


def test_an_interval_of_a_mean_is_student_s():
    # n = 3: t(0.975, 2) = 4.302653, s = 1, m = 2; and p = 2 (1 - F(2 sqrt(3))) = 1 - 3.4641 / sqrt(2 + 12)
    found = intervals.interval_of_mean([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5
    assert found == pytest.approx((2.0, 2.0 - half, 2.0 + half, 1 - 12**0.5 / 14**0.5), abs=1e-6)


def test_the_deviation_of_trainings_is_pooled_within_functions():
    # Of 1 and 3 around 2, and 10, 10 and 13 around 11: squares of 2 and 6, with 1 and 2 degrees of freedom.
    values, functions = np.array([1.0, 3.0, 10.0, 10.0, 13.0, 50.0]), np.array([0, 0, 1, 1, 1, 2])
    assert intervals.deviation_of_trainings(values, functions, 0.0) == pytest.approx((8 / 3) ** 0.5, rel=1e-12)
    assert intervals.deviation_of_trainings(values, functions, 5.0) == pytest.approx(3**0.5, rel=1e-12)


def test_the_expected_best_of_a_draw_is_its_mean_over_all_draws():
    select, report = [0.3, 0.1, 0.2, 0.4], [3.0, 10.0, 20.0, 4.0]
    draws = list(combinations(range(4), 2))
    found = sum(report[max(draw, key=lambda one: select[one])] for draw in draws) / len(draws)
    assert quality_by_compute.expected_best(select, report, 2) == pytest.approx(found, rel=1e-12)
