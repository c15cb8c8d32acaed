"""What watches a search, and may stop it: one file for each."""

from dnas.observer.base import EpochReport, Observer, StepReport, Stop

__all__ = ["EpochReport", "Observer", "StepReport", "Stop"]
