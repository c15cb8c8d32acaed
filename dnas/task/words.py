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


def is_share(metric: str, value: float = 0.0) -> bool:
    """Whether a value is a share from 0 to 1; a metric of one's own may have the name of ours and another range."""
    return metric in _SHARES and 0 <= value <= 1


def shown(metric: str, value: float) -> str:
    """A metric's value: shares in percent, others with four digits.

    Example:
        >>> shown("top1", 0.875), shown("mse", 1234.5678), shown("f1", 87.5)
        ('87.50%', '1235', '87.5')
    """
    return f"{100 * value:.2f}%" if is_share(metric, value) else f"{value:.4g}"


def spread(metric: str, value: float, *, around: float) -> str:
    """A standard deviation of a metric's values around their mean, in percentage points for shares."""
    return f"{100 * value:.2f}" if is_share(metric, around) else f"{value:.2g}"
