"""CIFAR-10 at 16x16: every pixel is the mean of a 2x2 block, rounded to a byte; the data of docs/results.md.

    python benchmarks/cifar16.py SOURCE TARGET.npz

SOURCE is anything that `dnas search --data` takes, with images of 32x32: a folder of CIFAR's files, or an .npz file.
"""

import sys

import numpy as np
import torch

from dnas.data import load_source


def halved(images: torch.Tensor) -> np.ndarray:
    """`(n, 3, 32, 32)` bytes as `(n, 16, 16, 3)`: means of 2x2 blocks, halves rounded to even."""
    blocks = images.double().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    return blocks.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def main(source: str, target: str) -> None:
    loaded = load_source(source)
    assert loaded.test is not None, f"{source} has no test part"
    np.savez(
        target,
        class_names=np.array(loaded.train.kind.names),
        x_train=halved(loaded.train.inputs),
        y_train=loaded.train.targets.numpy(),
        x_test=halved(loaded.test.inputs),
        y_test=loaded.test.targets.numpy(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
