"""Perplexity of a language model on a text."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnas.data.batches import Batches
from dnas.data.text import TextBatches
from dnas.system.errors import NonFiniteLoss
from dnas.training.evaluate import device_of, evaluation_mode

# Legend: T steps of a batch, B rows, N = T * B predicted tokens, V tokens of the vocabulary.


def whole_text(
    tokens: Tensor, *, batch_size: int = 1, bptt: int = 35, device: torch.device | str = "cpu"
) -> TextBatches:
    """Batches for evaluation: every token of `tokens` but the first of each row is predicted once.

    With one row, as in the paper's test, no token is left out. More rows are faster, but the tokens that do not fill a
    row are left out, and each row begins without context.

    Args:
        tokens: one part of a corpus, shape (length of the text,).
        batch_size: rows of text that are read side by side.
        bptt: steps of a batch.
        device: device of the batches.
    """
    return TextBatches(tokens, batch_size=batch_size, bptt=bptt, whole=True, device=device)


def perplexity(network: nn.Module, batches: Batches) -> float:
    """exp of the mean cross entropy per token, in evaluation mode; the hidden state is carried from batch to batch.

    The mean is over the predicted tokens; the official code divides by one more for each row.

    Args:
        network: `network(tokens, carry)` returns `(LanguageOutput, carry)`.
        batches: (tokens, next tokens), both (T, B), in order, as `whole_text` gives them.

    Raises:
        NonFiniteLoss: an output is NaN.

    Example:
        >>> from dnas.space.recurrent import RecurrentSpace
        >>> network = RecurrentSpace(nodes=1).model(vocabulary=7, hidden=4)
        >>> _ = network.encoder.weight.data.zero_()
        >>> f"{perplexity(network, whole_text(torch.arange(40) % 7, batch_size=2)):.3f}"
        '7.000'
    """
    device = device_of(network)
    total, count = torch.zeros((), dtype=torch.float64, device=device), 0
    carry: Tensor | None = None
    with evaluation_mode(network), torch.no_grad():
        for batch in batches.epoch(0):
            output, carry = network(batch.inputs, initial_state(network, batch.inputs) if carry is None else carry)
            logits_NV = output.logits.flatten(0, 1)
            total += F.cross_entropy(logits_NV, batch.targets.flatten(), reduction="sum").double()
            count += batch.targets.numel()
    loss = float(total) / count
    if math.isnan(loss):
        raise NonFiniteLoss("The network's outputs are NaN: its training has diverged; lower the learning rate.")
    return exponential(loss)


def initial_state(network: nn.Module, tokens_TB: Tensor) -> Tensor:
    """The hidden state at the beginning of a text: zeros of shape (B, hidden)."""
    like = next(network.parameters())
    return like.new_zeros(tokens_TB.shape[1], network.hidden)  # pyright: ignore[reportCallIssue, reportArgumentType]


def exponential(loss: float) -> float:
    """exp(loss), the perplexity for a cross entropy in nats; infinity if exp overflows."""
    return math.exp(loss) if loss < 700 else math.inf
