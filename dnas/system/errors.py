"""Errors that a user can correct; the command line shows them as one line, without a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in a request; the message says what came, what was expected and what to do.

    Any other `ValueError` is a mistake of ours, or of a user's own part, and keeps its traceback.
    """


class MissingPackage(UserError, ImportError):
    """A package is not installed that only some of `dnas` needs; the message says how to install it."""


class CannotWrite(UserError, OSError):
    """A file cannot be written: no room, no permission, or its folder is gone; the message names it."""


class FolderInUse(UserError):
    """Another process works in a folder; the message names both."""


class NonFiniteLoss(UserError, FloatingPointError):
    """A loss or a weight became NaN or infinite; the last good checkpoint is kept."""


# What torch and Python raise where a module or a function is called with what it cannot take.
MISFITS = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, NotImplementedError)


@contextmanager
def in_own_code(what: Callable[[], str]) -> Iterator[None]:
    """Within the block a user's own module or function is called; what it raises becomes one sentence that names it.

    Args:
        what: the beginning of the sentence, such as 'The model Net cannot take a tensor (8, 3)'.

    Raises:
        UserError: the call failed, for another reason than a lack of memory.
    """
    try:
        yield
    except UserError:
        raise
    except MISFITS as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip()
        raise UserError(
            f"{what()}: {type(error).__name__}: {reason}{'' if reason.endswith(('.', '!')) else '.'}"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on the CPU torch says so by a plain RuntimeError."""
    import torch

    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or ("DefaultCPUAllocator" in str(error) and "memory" in str(error))
