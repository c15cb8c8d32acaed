"""Epochs in pieces."""

from __future__ import annotations

import torch

from dnas.finalists.pieces import Pieces
from dnas.training.evaluate import as_batches


def test_pieces_are_the_equal_parts_of_an_epoch_in_their_order():
    batches = as_batches([(torch.full((1, 1), float(i)), torch.tensor([i])) for i in range(7)])

    def numbers(pieces: int, epoch: int, start: int = 0) -> list[int]:
        return [int(batch.targets) for batch in Pieces(batches, pieces).epoch(epoch, start)]

    assert [numbers(3, epoch) for epoch in range(4)] == [[0, 1], [2, 3], [4, 5], [0, 1]]
    assert numbers(3, 1, start=1) == [3]
    assert len(Pieces(batches, 3)) == 2
    assert numbers(100, 6) == [6]
