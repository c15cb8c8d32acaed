"""Which observers fit a search."""

from __future__ import annotations

from collections.abc import Sequence

from dnas.searching.observer.base import Observer
from dnas.searching.observer.best_epoch import BestEpoch
from dnas.searching.observer.eigenvalue import HessianEigenvalue
from dnas.searching.observer.eigenvalue_stop import AdaptiveDecay, EigenvalueStop
from dnas.searching.observer.operation_freeze import OperationFreeze
from dnas.searching.observer.skips import SkipStop
from dnas.system.errors import UserError


def check_observers(
    observers: Sequence[Observer],
    *,
    trains_alphas: bool,
    one_level: bool,
    needs_training: bool,
    weight_decay: float,
    in_stages: bool,
    validate_every: int = 1,
) -> None:
    """Refuse an observer that would see nothing in this search, or could do nothing.

    Args:
        observers: the observers of the search.
        trains_alphas: whether the relaxation's alphas are trained.
        one_level: whether alphas and weights see the same batches.
        needs_training: whether the discretization trains or evaluates, so that no epoch has an architecture.
        weight_decay: weight decay of the weights' optimizer.
        in_stages: whether the search has more than one supernet.
        validate_every: epochs between two measurements of the supernet; 0 for none.

    Raises:
        UserError: names the first observer that does not fit, says why and what to use instead.
    """
    for observer in observers:
        name = type(observer).__name__
        if isinstance(observer, HessianEigenvalue | EigenvalueStop | AdaptiveDecay):
            _check_hessian(name, trains_alphas=trains_alphas, one_level=one_level)
        if isinstance(observer, OperationFreeze) and (one_level or not trains_alphas):
            why = "both are from one batch with one_level" if one_level else "with this relaxation there is no second"
            raise UserError(
                f"{name} compares the gradient of the weights' batch with that of the alphas', but {why}: leave it "
                "out, or search on two levels with a relaxation such as dnas.Softmax."
            )
        if isinstance(observer, SkipStop) and needs_training:
            raise UserError(
                f"{name} looks at the architecture of every epoch, but this discretization finds one only at the end: "
                "use dnas.Argmax, or leave it out."
            )
        if isinstance(observer, BestEpoch):
            _check_best_epoch(trains_alphas=trains_alphas, in_stages=in_stages, validate_every=validate_every)
        if isinstance(observer, AdaptiveDecay) and in_stages:
            raise UserError(
                f"{name} goes back over many epochs, which may belong to the supernet of another stage: leave it out, "
                "or search without stages."
            )
        if isinstance(observer, AdaptiveDecay) and weight_decay == 0:
            raise UserError(f"{name} multiplies the weight decay of the weights, which is 0: give them a larger one.")


def _check_best_epoch(*, trains_alphas: bool, in_stages: bool, validate_every: int) -> None:
    """Refuse a search in which no epoch is measured, or all have the same alphas."""
    if validate_every == 0:
        raise UserError("BestEpoch compares what the supernet reaches after epochs: set validate_every to 1.")
    if not trains_alphas or in_stages:
        why = "the supernet of a stage is another one" if in_stages else "no alphas are trained"
        raise UserError(f"BestEpoch chooses among the alphas of one search, but {why}: leave it out.")


def _check_hessian(name: str, *, trains_alphas: bool, one_level: bool) -> None:
    """Refuse a search whose validation loss has no Hessian in the alphas to look at."""
    if not trains_alphas:
        raise UserError(
            f"{name} looks at the Hessian of the validation loss in the alphas, and with this relaxation no alphas "
            "are trained: leave it out, or use a relaxation such as dnas.Softmax."
        )
    if one_level:
        raise UserError(
            f"{name} looks at the Hessian of the validation loss, and with one_level the batch of the alphas is "
            "that of the weights: leave it out, or search on two levels."
        )


def check_length(observers: Sequence[Observer], *, first: int, last: int) -> None:
    """Refuse an observer that waits for something that cannot happen in so short a search.

    Args:
        observers: the observers of the search.
        first: the first epoch in which alphas are trained; above `last` if there is none.
        last: number of epochs.

    Raises:
        UserError: names the first such observer, and says how many epochs would be enough.
    """
    for observer in observers:
        if isinstance(observer, EigenvalueStop | AdaptiveDecay):
            earliest = observer.sharpening.earliest(first)
            if earliest >= last:
                stops = "end" if isinstance(observer, EigenvalueStop) else "go back in"
                raise UserError(
                    f"{type(observer).__name__} can {stops} a search of {earliest + 1} epochs or more with this "
                    f"warm-up and sharpening, but this one has {last}: search longer (if --time is given, with more "
                    "of it), lower start, delta, window or every of its sharpening, or leave it out."
                )
