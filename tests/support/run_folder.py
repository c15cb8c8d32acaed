"""A run folder that a search, a retraining, an evaluation and a baseline would leave, written in a moment."""

import base64
from pathlib import Path

import dnas
from dnas.core.decision import Decision
from dnas.core.run import RETRAIN
from dnas.picture.png import png
from dnas.searching.mixture_history import EpochMixtures

HOSTILE = '<img src="http://example.com/x" onerror="alert(1)">'


def cell(*edges: tuple[int, int, str]) -> dnas.Architecture:
    kept = tuple(dnas.KeptEdge(*edge) for edge in edges)
    return dnas.Architecture({"normal": dnas.CellArchitecture(kept, (2, 3))})


EPOCHS = [
    cell((0, 2, "skip_connect"), (1, 2, "conv"), (0, 3, "conv")),
    cell((0, 2, "conv"), (1, 2, "conv"), (2, 3, "skip_connect")),
    cell((0, 2, "conv"), (1, 2, "skip_connect"), (2, 3, "skip_connect")),
]
DECISION = Decision("normal", "operations", ("conv", "skip_connect"), ((0, 2), (1, 2)), output=(2,))
MIXTURES = [EpochMixtures(epoch, {"normal": DECISION}, {"normal": [[0.5, 0.5], [0.25, 0.75]]}) for epoch in (1, 2, 3)]


def whole_run(folder: Path) -> dnas.Run:
    """A finished run of three epochs, with a class whose name is markup."""
    run = dnas.Run(folder)
    run.write_config({"model": HOSTILE})
    for epoch, architecture in enumerate(EPOCHS, start=1):
        scalars = {"epoch": epoch, "train_loss": 2 / epoch, "validation_accuracy": 0.5 + epoch / 10, "entropy": 0.5}
        run.log(epoch, {"phase": "epoch", **scalars})
        run.save_architecture(architecture, epoch)
    run.save_architecture(EPOCHS[-1])
    retraining = run.child(RETRAIN)
    retraining.log(1, {"phase": "epoch", "epoch": 0, "train_top1": 0.9, "validation_top1": 0.7})
    rows = [
        {"name": name, "parameters": size, "validation": held_out, "test": test, "seconds": 3.0}
        for name, size, held_out, test in (("found", 1000, 0.9, 0.88), ("random 0", 1200, 0.8, 0.85))
    ]
    same_compute = {"expected_test": 0.85}
    comparison = {"found": rows[0], "random": rows[1:], "metric": "top1", "better": "higher", "search_wins": True}
    run.child("baseline").save_json("comparison", {**comparison, "same_compute": same_compute, "findings": [HOSTILE]})
    evaluation = run.child("evaluation")
    evaluation.save_json("evaluation", {"top1": 0.88, "parameters": 1000, "forward_flops": 5000})
    picture = base64.b64encode(png(bytes(range(64)), width=8, height=8, channels=1)).decode()
    mistakes = [{"true": HOSTILE, "predicted": "cat", "png": picture}, {"true": "a", "predicted": "b", "png": "no"}]
    evaluation.save_json("mistakes", {"mistakes": mistakes})
    quoted = HOSTILE.replace('"', '""')
    (evaluation.path / "confusion.csv").write_text(f'true,"{quoted}",cat\n"{quoted}",8,2\ncat,1,9\n')
    run.close()
    retraining.close()
    return run
