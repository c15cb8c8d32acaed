"""A text that counts, a small recurrent cell, and an optimizer for it."""

import torch
from torch import nn

from dnas.core.schedule import Constant
from dnas.data.text import Corpus, Vocabulary
from dnas.searching.settings import WeightSGD
from dnas.space.recurrent import RecurrentSpace
from dnas.space.recurrent_model import NO_DROPOUT

V, H = 6, 8
SPACE = RecurrentSpace(nodes=2)
SGD = WeightSGD(lr=Constant(5.0), momentum=0.0, weight_decay=0.0, clip=0.25)


def corpus() -> Corpus:
    """A text that counts: after k comes k + 1, or 0 after a pause of random length."""
    draw = torch.Generator().manual_seed(0)
    numbers = torch.cat([torch.arange(1, 2 + int(torch.randint(V - 1, (), generator=draw))) for _ in range(400)])
    return Corpus(numbers[:700], numbers[700:900], numbers[900:1100], Vocabulary(("<unk>", *"abcde")), "char")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    found = SPACE.random(torch.Generator().manual_seed(seed))
    return SPACE.network(found, vocabulary=V, hidden=H, dropout=NO_DROPOUT)
