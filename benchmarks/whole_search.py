"""A whole CIFAR-10 search with DARTS's settings through `dnas.search`, in as many parts as it takes.

For the table of issue 3, on one GPU (with `--second-order` for the other row):

    python benchmarks/whole_search.py RUN --data CIFAR --device cuda
    python benchmarks/whole_search.py RUN --data CIFAR --device cuda --epochs-now 5

RUN is a folder, with a checkpoint after every epoch; the same command again goes on from it. `--epochs-now` stops
after so many epochs. CIFAR is anything that `dnas search --data` takes; without `--data` the images are 50000 of noise,
which take as long. It prints the seconds of each epoch, with batches, augmentation and the measurement of the
supernet, and of all 50: what was not run is extrapolated by the median epoch, and it says so. Needs torch and numpy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs where dnas is not installed

from benchmarks.in_turns import machine  # noqa: E402
from dnas.core.run import Run  # noqa: E402
from dnas.data import (  # noqa: E402
    ImageBatches,
    ImageSet,
    SampleSet,
    halves,
    load_source,
    measure_normalization,
    standard_augmentation,
    to_device_if_it_fits,
)
from dnas.method.hypergradient import FiniteDifference, FirstOrder, OneStep  # noqa: E402
from dnas.searching.observer import EpochReport, Observer, Stop  # noqa: E402
from dnas.searching.search import search  # noqa: E402
from dnas.searching.settings import SearchSettings  # noqa: E402
from dnas.space import DartsSpace  # noqa: E402
from dnas.system.interrupt import Interrupted  # noqa: E402
from dnas.system.random_state import seeded  # noqa: E402

NUM_CLASSES = 10


class StopAfter(Observer):
    """Asks for a stop, as Ctrl-C does, after this many epochs from now."""

    def __init__(self, epochs: int):
        self.left = epochs

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return None


def noise(count: int, size: int) -> ImageSet:
    """Images and labels of noise, as many of each class."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    names = tuple(f"class {number}" for number in range(NUM_CLASSES))
    return ImageSet(images, torch.arange(count) % NUM_CLASSES, names, "noise")


def streams(images: SampleSet, batch: int, device: torch.device) -> tuple[ImageBatches, ImageBatches, ImageBatches]:
    """Batches of the weights' half, of the alphas' half, and of the latter to measure the supernet on."""
    normalization = measure_normalization(images)
    augmentation = standard_augmentation(images)
    weights_half, alphas_half = halves(to_device_if_it_fits(images, device), seed=0)

    def of(part: SampleSet, stream: int, *, augmented: bool) -> ImageBatches:
        return ImageBatches(
            part,
            batch_size=batch,
            augmentation=augmentation if augmented else None,
            normalization=normalization,
            seed=stream,
            shuffle=True,
            merge_last=not augmented or len(part) % batch == 1,
            device=device,
        )

    return of(weights_half, 0, augmented=True), of(alphas_half, 1, augmented=True), of(alphas_half, 2, augmented=False)


def seconds_per_epoch(rows: list[dict[str, Any]]) -> list[float]:
    """Of each epoch done, from the times that a run's metrics have at the end of each."""
    ends = [0.0, *(float(row["seconds"]) for row in rows if row["phase"] == "epoch")]
    return [end - start for start, end in itertools.pairwise(ends)]


def report(found: dict[str, Any]) -> str:
    """The result as text."""
    seconds, epochs = found["seconds_per_epoch"], found["epochs"]
    lines = [
        f"DARTS search, {'second' if found['second_order'] else 'first'} order, {found['precision']}: "
        f"{found['num_images']} images, batch {found['batch']}, {found['channels']} channels, {found['cells']} cells",
        ", ".join(f"{name} {value}" for name, value in found["machine"].items()),
        f"seconds per epoch: median {statistics.median(seconds):.1f}, {min(seconds):.1f} to {max(seconds):.1f} "
        f"({len(seconds)} epochs)",
        f"{len(seconds)} of {epochs} epochs ran: {sum(seconds):.0f} s",
    ]
    if len(seconds) < epochs:
        rest = epochs - len(seconds)
        lines.append(f"all {epochs}, the other {rest} extrapolated by the median: {found['total_seconds']:.0f} s")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder; an unfinished search in it goes on")
    parser.add_argument("--data", help="CIFAR-10 in any form that dnas takes; by default noise")
    parser.add_argument("--num-images", type=int, default=50000, help="of the noise")
    parser.add_argument("--size", type=int, default=32, help="height and width of the noise")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--epochs-now", type=int, help="number of epochs after which to stop; by default all")
    parser.add_argument("--second-order", action="store_true", help="with the finite difference of DARTS, eq. 8")
    parser.add_argument("--precision", choices=("float32", "tf32", "bf16"), default="tf32")
    parser.add_argument("--capture", action=argparse.BooleanOptionalAction, default=True, help="on a GPU")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    device = torch.device(given.device)
    images = load_source(given.data).train if given.data else noise(given.num_images, given.size)
    with seeded(0):
        model = DartsSpace().model(channels=given.channels, cells=given.cells, num_classes=images.kind.num_outputs)
    settings = SearchSettings(
        hypergradient=OneStep(mixed=FiniteDifference()) if given.second_order else FirstOrder(),
        epochs=given.epochs,
        precision=given.precision,
        capture=given.capture,
    )
    train, val, validation = streams(images, given.batch, device)
    run = Run(given.run)
    run.path.mkdir(parents=True, exist_ok=True)
    if not run.config_path.exists():  # by hand, since `search` would write it with PyYAML; JSON is YAML
        plain = {name: str(value) for name, value in vars(given).items()}
        run.config_path.write_text(json.dumps({"whole_search": plain}))
    observers = [StopAfter(given.epochs_now)] if given.epochs_now else []
    try:
        search(model.to(device), train, val, settings=settings, validation=validation, run=run, observers=observers)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
    seconds = seconds_per_epoch(run.metrics())
    if not seconds:
        sys.exit("No epoch has ended yet: the same command again goes on.")
    found = {
        **{
            name: getattr(given, name) for name in ("batch", "channels", "cells", "epochs", "second_order", "precision")
        },
        "capture": given.capture,
        "num_images": len(images),
        "data": given.data or "noise",
        "machine": machine(given.device),
        "seconds_per_epoch": seconds,
        "total_seconds": sum(seconds) + (given.epochs - len(seconds)) * statistics.median(seconds),
    }
    print(report(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
