"""Observers, which watch a search and may stop it: one file for each."""

from dnas.searching.observer.base import EpochReport, GoBack, Observer, StepReport, Stop
from dnas.searching.observer.best_epoch import BestEpoch
from dnas.searching.observer.checks import check_length, check_observers
from dnas.searching.observer.eigenvalue import HessianEigenvalue, largest_eigenvalue
from dnas.searching.observer.eigenvalue_stop import AdaptiveDecay, EigenvalueStop, Sharpening
from dnas.searching.observer.operation_freeze import OperationFreeze
from dnas.searching.observer.skips import SkipStop, skip_share

__all__ = [
    "AdaptiveDecay",
    "BestEpoch",
    "EigenvalueStop",
    "EpochReport",
    "GoBack",
    "HessianEigenvalue",
    "Observer",
    "OperationFreeze",
    "Sharpening",
    "SkipStop",
    "StepReport",
    "Stop",
    "check_length",
    "check_observers",
    "largest_eigenvalue",
    "skip_share",
]
