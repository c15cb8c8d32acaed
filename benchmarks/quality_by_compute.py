"""How quality grows with compute on small NAS-Bench-201, as a picture, from curves and trainings that were recorded.

    PYTHONPATH=. python benchmarks/quality_by_compute.py NB201.npz docs/pictures/quality_by_compute.svg

Three lines, of the table's `test200_c10`, over core minutes by the measured steps (benchmarks/results/finalists/
epoch_costs.jsonl, images of 16x16, one thread of a busy core): the mean architecture of `drnas`, which is `default`,
after each epoch (trajectory.csv, three seeds); and two random searches, one with the 32 trainings of six epochs on
45,000 images (random_networks.json), one with the benchmark's own trainings of 12 epochs on 25,000 of all its networks.
Of random searches it is the exact expectation: the mean of the best by held-out accuracy over all draws of k networks.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dnas.picture.curves import Series, curves
from dnas.table import load_table
from dnas.training.row import Row
from dnas.training.significance import mean

RESULTS = Path(__file__).parent / "results"
BATCH, LEAST, MOST = 128, 3.5, 20.0  # images a step; core minutes that are shown


def expected_best(select: Sequence[float], report: Sequence[float], num: int) -> float:
    """The expected reported value of the best by selecting value among `num` that are drawn without replacement.

    The one of rank i (0 for the best of n) is the best of a draw with probability C(n - i - 1, k - 1) / C(n, k); equal
    ones count in the order of the list.

    Example:
        >>> expected_best([1, 2, 3], [10.0, 20.0, 60.0], 2)  # of three pairs two hold the best, and one does not
        46.666666666666664
    """
    order = sorted(range(len(select)), key=lambda index: -select[index])
    chance, found = num / len(order), 0.0
    for rank, index in enumerate(order):
        found += chance * report[index]
        left = len(order) - rank - 1
        chance *= max(left - num + 1, 0) / left if left else 0.0
    return found


def step_seconds() -> tuple[float, float]:
    """CPU seconds of a step of the supernet, and the mean over those of random networks."""
    rows = [json.loads(line) for line in (RESULTS / "finalists" / "epoch_costs.jsonl").read_text().splitlines()]
    medians = next(row["medians"] for row in rows if row["image_size"] == 16)
    networks = [value for name, value in medians.items() if name.startswith("|")]
    return medians["supernet"], mean(networks)


def minutes(step: float, images: int, epochs: float) -> float:
    return step * (images / BATCH) * epochs / 60


def of_default(step: float) -> Series:
    with (RESULTS / "nasbench201_small" / "trajectory.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["recipe"] == "drnas"]
    values: dict[int, list[float]] = {}
    for row in rows:
        values.setdefault(int(row["epoch"]), []).append(float(row["test200_c10"]))
    points = [(minutes(step, 25_000, epoch), mean(own)) for epoch, own in sorted(values.items())]
    return Series("supernet (default)", tuple(point for point in points if LEAST <= point[0] <= MOST))


def of_random(name: str, select: Sequence[float], report: Sequence[float], each: float) -> Series:
    points = [(k * each, expected_best(select, report, k)) for k in range(1, int(MOST / each) + 1)]
    return Series(name, tuple(point for point in points if point[0] >= LEAST))


def main(table_file: str, picture: str) -> None:
    supernet, network = step_seconds()
    table = load_table(Path(table_file))
    saved = RESULTS / "nasbench201_small" / "random_networks.json"
    rows = [Row.from_data(row, source=str(saved)) for row in json.loads(saved.read_text())["rows"]]
    own = [table.accuracy(row.architecture, "test200_c10") for row in rows]
    short, full = (table.columns[column].tolist() for column in ("valid12_c10", "test200_c10"))
    lines = [
        of_default(supernet),
        of_random("random, 6 epochs", [row.validation for row in rows], own, minutes(network, 45_000, 6)),
        of_random("random, 12 epochs", short, full, minutes(network, 25_000, 12)),
    ]
    for line in lines:
        print(f"{line.name}: " + ", ".join(f"{x:.1f} min {y:.2f}" for x, y in line.points))
    words = {"title": "Small NAS-Bench-201: quality by compute", "x_axis": "core minutes", "y_axis": "test200_c10, %"}
    Path(picture).write_text(curves(lines, **words), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
