"""A tiny text in three parts, and settings of `dnas language` that take a second on it."""

from pathlib import Path

import torch

SMALL = (
    *("--hidden", "4", "--batch_size", "8", "--validation_batch_size", "4", "--bptt", "8", "--space.nodes", "2"),
    *("--search.epochs", "2", "--train.epochs", "2", "--train.hidden", "6", "--train.batch_size", "8"),
    *("--train.bptt", "8", "--train.validation_batch_size", "4", "--train.test_batch_size", "2"),
    *("--num", "2", "--device", "cpu", "--threads", "1"),
)
CELL = "Genotype(recurrent=[('tanh', 0), ('sigmoid', 1)], concat=[1, 2])"


def make_text(folder: Path, *, words: bool = False) -> Path:
    """Letters in the order of the alphabet, which begins anew after one to five; with `words` as words on lines."""
    draw = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True)
    for part, count in (("train", 300), ("valid", 120), ("test", 110)):
        pieces = ["abcde"[: 1 + int(torch.randint(5, (), generator=draw))] for _ in range(count)]
        text = "\n".join(" ".join(piece) for piece in pieces) if words else "".join(pieces)
        (folder / f"{part}.txt").write_text(text + "\n")
    return folder
