"""What a user can put right: errors that the command line shows as one line, without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what was asked for; the message says what came, what was expected and what to do.

    Any other `ValueError` is a mistake of ours, or of a user's own part, and keeps its traceback.
    """


class MissingPackage(UserError, ImportError):
    """A package is not installed that only some of `dnas` needs; the message says how to install it."""


class NonFiniteLoss(UserError, FloatingPointError):
    """A loss or a weight became NaN or infinite; the last good checkpoint is kept."""
