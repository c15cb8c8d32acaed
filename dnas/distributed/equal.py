"""What must be the same on all ranks: made so, or checked."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from torch import Tensor, nn

from dnas.distributed.ranks import Ranks, names_of, ranks
from dnas.system.errors import UserError


def check_same(current: Ranks, what: str, value: object) -> None:
    """Check that a plain value is the same on all ranks.

    Args:
        current: the ranks.
        what: what it is, in the plural, such as 'settings'.
        value: the value, of which the message shows where two begin to differ.

    Raises:
        UserError: it is not; raised on all ranks, with the ranks that differ from the first.
    """
    found = current.each(value)
    if any(other != found[0] for other in found):
        other = next(value for value in found if value != found[0])
        came, expected = _where_they_part(str(other), str(found[0]))
        raise UserError(
            f"The {what} of {names_of(found)} are other than those of rank 0: {came} instead of {expected}. Start all "
            "ranks with the same command, data and versions."
        )


def make_equal(model: nn.Module, beside: Mapping[str, Tensor] | None = None) -> None:
    """Give all ranks the first one's weights and buffers, and those tensors beside them.

    Raises:
        UserError: names or shapes differ.
    """
    if ranks().size > 1:
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), **(beside or {})}
        check_same(ranks(), "weights", [(name, tuple(tensor.shape)) for name, tensor in tensors.items()])
        ranks().first(list(tensors.values()))


def check_equal(model: nn.Module, beside: Mapping[str, Tensor] | None = None) -> None:
    """Check that weights, and tensors beside them, are the same bits on all ranks; take the first one's buffers.

    Raises:
        UserError: they differ, as where machines of different kinds round differently.
    """
    if ranks().size > 1:
        check_same(ranks(), "weights after an epoch", digest(*model.parameters(), *(beside or {}).values()))
        ranks().first(list(model.buffers()))


def digest(*tensors: Tensor) -> str:
    """A short text that changes with any bit."""
    found = blake2b(digest_size=6)
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return found.hexdigest()


def _where_they_part(one: str, other: str) -> tuple[str, str]:
    """A piece of each of two long texts, from just before they differ."""
    first = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(first - 40, 0)
    dots = "..." if start else ""
    return tuple(f"{dots}{text[start : first + 60]}" for text in (one, other))  # pyright: ignore[reportReturnType]
