"""Time and memory of one search step of the DARTS supernet, ours against the plain reference, in one run.

    python benchmarks/search_step.py --device cpu --threads 2 --batch 64 --channels 16 --cells 8 --repeats 5

First it proves in float64, for the same channels and cells and on a small batch, that both compute the same step; if
they do not, it stops there. Then each runs in a process of its own, and their steps take turns. Needs torch and numpy.

For the table of issue 3, on one GPU (each again with `--second-order`, but for bf16 and the last):

    python benchmarks/search_step.py --device cuda --precision float32 --capture --repeats 20
    python benchmarks/search_step.py --device cuda --precision tf32 --capture --repeats 20
    python benchmarks/search_step.py --device cuda --precision bf16 --capture --repeats 20
    python benchmarks/search_step.py --device cuda --precision tf32 --capture --partial-channels 4 --repeats 20
    python benchmarks/search_step.py --device cuda --precision tf32 --relaxation hard --repeats 20
    python benchmarks/search_step.py --device cuda --precision tf32 --kernels always --capture --repeats 20

`--precision` is ours; the reference runs in float32 for float32, and with TF32 products for tf32 and bf16. The proof is
in float64 without autocast, and what the precision changes in one step's loss and alpha gradient is printed and
bounded. With `--capture` the proof takes steps enough that some are replays.

`--relaxation hard` measures a GDAS step (Dong and Yang 2019, https://arxiv.org/abs/1910.04465: one candidate per edge)
against one plain training step of the network that was drawn, all 14 edges with one operation each, and against the
first-order step of the supernet. The step has two passes, so twice the sampled network is what it could cost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from benchmarks import reference  # noqa: E402
from benchmarks.in_turns import machine, measure, requests, table  # noqa: E402
from benchmarks.partial_reference import partial_supernet  # noqa: E402
from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge  # noqa: E402
from dnas.core.batch import Batch  # noqa: E402
from dnas.core.derive import derive  # noqa: E402
from dnas.core.mixture import Mixture  # noqa: E402
from dnas.kernels.choice import why_none_on  # noqa: E402
from dnas.method.hypergradient import FiniteDifference, FirstOrder, OneStep  # noqa: E402
from dnas.method.hypergradient.precision import in_precision  # noqa: E402
from dnas.method.relaxation import GumbelSoftmax, Softmax  # noqa: E402
from dnas.searching.execution import Stepper  # noqa: E402
from dnas.searching.settings import SearchSettings  # noqa: E402
from dnas.searching.supernet import Supernet  # noqa: E402
from dnas.space import DartsSpace  # noqa: E402
from dnas.space.kernel_cells import with_kernels  # noqa: E402

VARIANTS = ("reference", "ours")
# With --relaxation hard: the drawn network's training step, ours, and the step of the whole supernet.
HARD_VARIANTS = ("sampled", "ours", "supernet")
NUM_CLASSES = 10
CLIP = 5.0
# Largest difference in float64, relative to the largest entry of what is compared.
TOLERANCE = 1e-9
# Largest relative difference of the loss in a precision from that in float32, on the same weights.
LOSS_BOUNDS = {"float32": 1e-5, "tf32": 0.01, "bf16": 0.05}
# Steps that are not counted; with a graph, three as usual, the one that is recorded and compared, and one replay.
WARMUP, WARMUP_CAPTURED = 1, 5


@dataclass(frozen=True)
class Setup:
    """What is measured; `size` is the height and width of the images in pixels."""

    device: str
    threads: int
    batch: int
    channels: int
    cells: int
    size: int
    second_order: bool
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    capture: bool = False
    relaxation: str = "softmax"
    partial_channels: int = 1
    kernels: Literal["auto", "always", "plain"] = "plain"

    @property
    def variants(self) -> tuple[str, ...]:
        return HARD_VARIANTS if self.relaxation == "hard" else VARIANTS

    @property
    def warmup(self) -> int:
        return WARMUP_CAPTURED if self.capture else WARMUP

    def settings(self, precision: Literal["float32", "tf32", "bf16"] = "float32") -> SearchSettings:
        """Of our search, with the optimizers of DARTS."""
        return SearchSettings(
            relaxation=GumbelSoftmax(hard=True) if self.relaxation == "hard" else Softmax(),
            hypergradient=OneStep(mixed=FiniteDifference()) if self.second_order else FirstOrder(),
            precision=precision,
            capture=self.capture,
        )


Data = tuple[Tensor, Tensor]


def random_batches(setup: Setup, batch: int, dtype: torch.dtype) -> tuple[Data, Data]:
    """A validation and a training batch of noise."""
    generator = torch.Generator().manual_seed(0)

    def one() -> Data:
        images = torch.randn(batch, 3, setup.size, setup.size, generator=generator, dtype=torch.float64)
        return images.to(setup.device, dtype), torch.randint(NUM_CLASSES, (batch,), generator=generator).to(
            setup.device
        )

    return one(), one()


def weight_sgd(model: torch.nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)


def alpha_adam(alphas: list[Tensor]) -> torch.optim.Adam:
    return torch.optim.Adam(alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)


def our_supernet(setup: Setup, dtype: torch.dtype) -> Supernet:
    torch.manual_seed(0)
    space = DartsSpace(partial_channels=setup.partial_channels)
    model = space.model(channels=setup.channels, cells=setup.cells, num_classes=NUM_CLASSES)
    return Supernet(model if setup.kernels == "plain" else with_kernels(model)).to(setup.device, dtype)


def plain_supernet(setup: Setup) -> reference.ReferenceSupernet:
    sizes = {"channels": setup.channels, "cells": setup.cells, "num_classes": NUM_CLASSES}
    if setup.partial_channels > 1:
        return partial_supernet(**sizes, parts=setup.partial_channels)
    return reference.ReferenceSupernet(**sizes)


@dataclass(frozen=True)
class Search:
    """One supernet with its optimizers.

    Args:
        step: one whole step, as a function of validation and training batch, that gives the training loss.
        weights: the model's parameters.
        alphas: the architecture parameters.
        alpha_optimizer: Adam over the alphas.
    """

    step: Callable[[Data, Data], Tensor]
    weights: list[Tensor]
    alphas: list[Tensor]
    alpha_optimizer: torch.optim.Adam

    def alpha_gradients(self) -> list[Tensor]:
        """Adam's running mean of the alphas' gradients: the weight step of the published code overwrites `.grad`."""
        return [self.alpha_optimizer.state[alpha]["exp_avg"] for alpha in self.alphas]


def our_search(supernet: Supernet, setup: Setup, precision: Literal["float32", "tf32", "bf16"] = "float32") -> Search:
    stepper = Stepper(supernet, setup.settings(precision), say=complain)
    assert isinstance(stepper.alpha_optimizer, torch.optim.Adam)

    def step(val: Data, train: Data) -> Tensor:
        return stepper.take([Batch(*train)], Batch(*val), 0.0).loss

    return Search(step, list(supernet.model.parameters()), supernet.alpha_parameters(), stepper.alpha_optimizer)


def complain(line: str) -> None:
    """Where what was asked for is not what is measured, there is nothing to measure."""
    sys.exit(f"Not measured: {line}")


def plain_search(model: reference.ReferenceSupernet, setup: Setup) -> Search:
    alphas = list(model.alphas)
    weight_optimizer, alpha_optimizer = weight_sgd(model), alpha_adam(alphas)
    unrolled = None
    if setup.second_order:
        unrolled = plain_supernet(setup)
        unrolled.load_from(model, model.alphas)

    def step(val: Data, train: Data) -> Tensor:
        return reference.search_step(
            model, val, train, alpha_optimizer=alpha_optimizer, weight_optimizer=weight_optimizer, unrolled=unrolled
        )

    return Search(step, list(model.parameters()), alphas, alpha_optimizer)


def differences(setup: Setup, batch: int = 4) -> dict[str, float]:
    """Relative differences in float64 after two whole steps, so that momentum takes part, on a small batch.

    The gradients of the weights are those of the last step, after clipping. With a graph there are more steps.
    """
    if setup.relaxation == "hard":
        return hard_differences(setup, batch)
    supernet, model = our_supernet(setup, torch.float64), plain_supernet(setup)
    model.load_from(supernet.model, supernet.alpha_parameters())
    ours, plain = our_search(supernet, setup), plain_search(model, setup)
    batches = random_batches(setup, batch, torch.float64)
    for search in (ours, plain):
        for _ in range(setup.warmup):
            search.step(*batches)
    return {
        "training loss": relative([ours.step(*batches)], [plain.step(*batches)]),
        "weight gradients": relative([w.grad for w in ours.weights], [w.grad for w in plain.weights]),
        "alpha gradients": relative(ours.alpha_gradients(), plain.alpha_gradients()),
        "weights": relative(ours.weights, plain.weights),
        "alphas": relative(ours.alphas, plain.alphas),
    }


def hard_differences(setup: Setup, batch: int) -> dict[str, float]:
    """Relative differences in float64 between the supernet under one draw and the network that was drawn."""
    supernet = our_supernet(setup, torch.float64)
    (images, targets), _ = random_batches(setup, batch, torch.float64)
    mixtures = drawn(supernet, seed=0)
    network = drawn_network(supernet, mixtures)
    loss, _ = supernet.loss(supernet.weights(), mixtures, Batch(images, targets))
    found = torch.autograd.grad(loss, list(supernet.weights().values()), allow_unused=True)
    expected_loss = F.cross_entropy(network(images), targets)
    expected = torch.autograd.grad(expected_loss, list(network.parameters()))
    return {
        "training loss": relative([loss], [expected_loss]),
        "weight gradients": relative([gradient for gradient in found if gradient is not None], expected),
    }


def drawn(supernet: Supernet, *, seed: int) -> dict[str, Mixture]:
    """One hard sample; a node that would get nothing at all makes it be drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    progress = torch.zeros(())
    while True:
        mixtures = supernet.sample(GumbelSoftmax(hard=True), progress, generator)
        if all(_no_node_is_empty(supernet, name, mixture) for name, mixture in mixtures.items()):
            return mixtures


def _no_node_is_empty(supernet: Supernet, name: str, mixture: Mixture) -> bool:
    decision = supernet.decisions[name]
    none = decision.candidates.index("none")
    return all(any(mixture.row(edge)[0] != none for edge in decision.incoming(node)) for node in decision.nodes)


def drawn_network(supernet: Supernet, mixtures: dict[str, Mixture]) -> torch.nn.Module:
    """The network of a draw: every edge with its one operation, but for those that are `none`."""
    kept = {}
    for name, decision in supernet.decisions.items():
        edges = [
            KeptEdge(source, target, decision.candidates[mixtures[name].row(edge)[0]])
            for edge, (source, target) in enumerate(decision.edges)
        ]
        kept[name] = CellArchitecture(tuple(edge for edge in edges if edge.operation != "none"), decision.output)
    return derive(supernet.model, Architecture(kept))


def precision_differences(setup: Setup, batch: int = 4) -> dict[str, float]:
    """What the precision changes in the first step on the same weights: the loss, and the alphas' gradient."""
    found = []
    for precision in ("float32", setup.precision):
        search = our_search(our_supernet(setup, torch.float32), replace(setup, capture=False), precision)
        loss = search.step(*random_batches(setup, batch, torch.float32))
        found.append((loss, search.alpha_gradients()))
    (exact, exact_gradients), (loss, gradients) = found
    return {
        "training loss": relative([loss], [exact]),
        "alpha gradients": relative(gradients, exact_gradients),
    }


def relative(mine: Sequence[Tensor | None], theirs: Sequence[Tensor | None]) -> float:
    """Over all pairs of tensors, the largest of their largest difference over the largest entry."""
    worst = 0.0
    for a, b in zip(mine, theirs, strict=True):
        assert a is not None
        assert b is not None
        worst = max(worst, float(((a - b).abs().max() / b.abs().max()).detach()))
    return worst


def worker(variant: str, setup: Setup) -> None:
    """Take a step at each request, in the process of this variant."""
    torch.set_num_threads(setup.threads)
    steps = steps_of(variant, setup, random_batches(setup, setup.batch, torch.float32))
    for step in requests(setup.device, steps):
        step()


def steps_of(variant: str, setup: Setup, batches: tuple[Data, Data]) -> Iterator[Callable[[], Any]]:
    """One step after another, each to be called once."""
    supernet = our_supernet(setup, torch.float32)
    if variant == "sampled":
        yield from sampled_steps(supernet, setup, batches[1])
        return
    if variant == "reference":
        plain = plain_supernet(setup)
        plain.load_from(supernet.model, supernet.alpha_parameters())
        step = plain_search(plain, setup).step
    else:
        wanted = replace(setup, relaxation="softmax") if variant == "supernet" else setup
        step = our_search(supernet, wanted, setup.precision).step
    while True:
        yield lambda: step(*batches) if variant != "reference" else in_plain_precision(setup, lambda: step(*batches))


def in_plain_precision(setup: Setup, step: Callable[[], Any]) -> Any:
    with in_precision("float32" if setup.precision == "float32" else "tf32", torch.device(setup.device)):
        return step()


def sampled_steps(supernet: Supernet, setup: Setup, train: Data) -> Iterator[Callable[[], Any]]:
    """Plain training steps, each of another network that was drawn; networks are built outside of what is timed."""
    images, targets = train
    for seed in itertools.count():
        network = drawn_network(supernet, drawn(supernet, seed=seed))
        optimizer = weight_sgd(network)

        def step(network: torch.nn.Module = network, optimizer: torch.optim.SGD = optimizer) -> None:
            with in_precision(setup.precision, images.device):
                loss = F.cross_entropy(network(images), targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()

        yield step


def report(
    setup: Setup,
    where: dict[str, str],
    equal: dict[str, float],
    rounded: dict[str, float],
    found: dict[str, dict[str, Any]],
) -> str:
    """The result as text."""
    order = "hard-sampled" if setup.relaxation == "hard" else "second order" if setup.second_order else "first order"
    proof = "1 draw" if setup.relaxation == "hard" else f"{setup.warmup + 1} steps"
    partial = f", 1 of {setup.partial_channels} channels" if setup.partial_channels > 1 else ""
    lines = [
        f"DARTS search step, {order}: batch {setup.batch}, {setup.size}x{setup.size}, {setup.channels} channels"
        f"{partial}, {setup.cells} cells, {setup.precision}{', recorded' if setup.capture else ''}"
        f"{'' if setup.kernels == 'plain' else ', compiled kernels'}, "
        f"{setup.threads} threads",
        ", ".join(f"{name} {value}" for name, value in where.items()),
        f"equal in float64 over {proof}, relative differences: " + in_words(equal),
        f"{setup.precision} against float32, first step: " + in_words(rounded),
        "",
    ]
    return "\n".join([*lines, *table(found, ratios(found))])


def in_words(differences: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.0e}" for name, value in differences.items())


def ratios(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How ours compares, in seconds (or processor seconds where that is said) and memory."""
    ours = found["ours"]
    if "reference" in found:
        plain = found["reference"]
        return {
            "times as fast as the reference": plain["median"] / ours["median"],
            "the same in CPU seconds": plain["processor_median"] / ours["processor_median"],
            "of the reference's memory": ours["peak_mib"] / plain["peak_mib"],
        }
    return {
        f"ours over {name}{what}": ours[key] / found[other][key]
        for other, name in (("sampled", "one step of the sampled network"), ("supernet", "the supernet's step"))
        for key, what in (("median", ""), ("processor_median", ", CPU seconds"))
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8, help="3 or more")
    parser.add_argument("--size", type=int, default=32, help="height and width of the images, a multiple of 4")
    parser.add_argument("--repeats", type=int, default=5, help="measured steps of each, after one that warms up")
    parser.add_argument("--second-order", action="store_true", help="with the finite difference of DARTS, eq. 8")
    parser.add_argument("--precision", choices=tuple(LOSS_BOUNDS), default="float32", help="of ours; see above")
    parser.add_argument("--capture", action="store_true", help="record ours as a CUDA graph")
    parser.add_argument("--relaxation", choices=("softmax", "hard"), default="softmax", help="hard: a GDAS step")
    parser.add_argument("--partial-channels", type=int, default=1, help="K: operations see 1 / K of the channels")
    kernels = ("auto", "always", "plain")
    parser.add_argument(
        "--kernels", choices=kernels, default="plain", help="auto, on a GPU always: ours by compiled ones"
    )
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    parser.add_argument("--worker", choices=sorted({*VARIANTS, *HARD_VARIANTS}), help=argparse.SUPPRESS)
    parser.add_argument("--setup", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.size % 4 or given.size < 4 or given.cells < 3:
        parser.error("the reference takes image sizes that are multiples of 4, and 3 or more cells")
    if given.capture and not given.device.startswith("cuda"):
        parser.error("--capture records a CUDA graph, so it needs --device cuda")
    if given.relaxation == "hard" and (given.second_order or given.capture or given.partial_channels > 1):
        parser.error("--relaxation hard goes without --second-order, --capture and --partial-channels")
    if given.precision == "bf16" and given.second_order:
        parser.error("the finite difference of --second-order needs float32: use --precision tf32")
    if given.kernels != "plain" and (reason := why_no_kernels(given)):
        parser.error(f"--kernels {given.kernels}: {reason}")
    if given.partial_channels < 1 or given.channels % given.partial_channels:
        parser.error("--partial-channels must divide --channels")
    return given


def why_no_kernels(given: argparse.Namespace) -> str | None:
    """Why kernels cannot be measured as asked for."""
    device = torch.device(given.device)
    if given.precision == "bf16":
        return "autocast (bf16) has none"
    if device.type == "cuda" and given.kernels == "auto":
        return "auto takes none on a GPU, always does"
    return why_none_on(device.type)


def main() -> None:
    given = arguments()
    if given.worker:
        worker(given.worker, Setup(**json.loads(given.setup)))
        return
    setup = Setup(**{field.name: getattr(given, field.name) for field in fields(Setup)})
    where = machine(setup.device)
    torch.set_num_threads(1)  # of the proof, whose float64 operations are small
    equal = differences(setup)
    if max(equal.values()) > TOLERANCE:
        sys.exit(f"Ours and the reference do not compute the same step: relative differences in float64 {equal}.")
    rounded = precision_differences(setup)
    if rounded["training loss"] > LOSS_BOUNDS[setup.precision]:
        sys.exit(f"{setup.precision} is further from float32 than {LOSS_BOUNDS[setup.precision]}: {rounded}.")
    found = measure(
        __file__,
        asdict(setup),
        setup.variants,
        threads=setup.threads,
        warmup=setup.warmup,
        repeats=given.repeats,
    )
    print(report(setup, where, equal, rounded, found))
    if given.json:
        result = {"setup": asdict(setup), "machine": where, "differences": equal, "against float32": rounded}
        result |= {"warm_up": setup.warmup, "measured": found, "ratios": ratios(found)}
        given.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
