"""Metrics and their values in words."""

from __future__ import annotations

# Metrics of our tasks that are shares from 0 to 1, shown in percent.
_SHARES = (
    *("top1", "top5", "balanced_accuracy", "f1", "label_accuracy", "exact_match"),
    *("miou", "pixel_accuracy"),
)
_CALLED = {"top1": "top-1", "top5": "top-5", "miou": "mIoU", "r2": "R2"}


def called(metric: str) -> str:
    """A metric's name for people."""
    return _CALLED.get(metric, metric.replace("_", " "))


def is_share(metric: str) -> bool:
    """Whether a metric of ours is a share from 0 to 1."""
    return metric in _SHARES


def shown(metric: str, value: float) -> str:
    """A metric's value: shares in percent, others with four digits.

    Example:
        >>> shown("top1", 0.875), shown("mse", 1234.5678)
        ('87.50%', '1235')
    """
    return f"{100 * value:.2f}%" if metric in _SHARES else f"{value:.4g}"


def spread(metric: str, value: float) -> str:
    """A standard deviation of a metric's values, in percentage points for shares."""
    return f"{100 * value:.2f}" if metric in _SHARES else f"{value:.2g}"
