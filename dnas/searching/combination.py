"""Which parts of a method fit together: a combination that cannot work, or has no effect, is refused by name."""

from __future__ import annotations

from collections.abc import Sequence

from dnas.cost.budget import Budget
from dnas.method.discretization import Discretization, Evolution, LimitedSkips, Perturbation, RandomSampling, Threshold
from dnas.method.penalty import Anchor, DirichletPrior, Entropy, ExpectedCost, Penalty, ZeroOne
from dnas.method.relaxation import GumbelSoftmax, ReinMax, Relaxation, Sigmoid, Softmax
from dnas.system.errors import UserError

# Our own relaxations that are not Dirichlet distributions; other people's relaxations are for their authors to judge.
_NOT_DIRICHLET = (Softmax, GumbelSoftmax, ReinMax, Sigmoid)


def check_penalties(penalties: Sequence[Penalty], relaxation: Relaxation) -> None:
    """Refuse a penalty on a function of the alphas that the relaxation does not use.

    Raises:
        UserError: names the first such penalty, says why it does not fit and what to use instead.
    """
    kind = type(relaxation).__name__
    for penalty in penalties:
        name = type(penalty).__name__
        if isinstance(penalty, ZeroOne) and not relaxation.gates:
            raise UserError(
                f"{name} pushes gates sigmoid(alpha) to 0 or 1, but the candidates of {kind} compete and have no "
                "gates: use the relaxation dnas.Sigmoid, or the penalty dnas.Entropy."
            )
        if isinstance(penalty, Entropy) and relaxation.gates:
            raise UserError(
                f"{name} acts on softmax(alpha), but with {kind} each candidate has a gate of its own: use the penalty "
                "dnas.ZeroOne, or a relaxation such as dnas.Softmax."
            )
        if isinstance(penalty, DirichletPrior | Anchor) and isinstance(relaxation, _NOT_DIRICHLET):
            raise UserError(
                f"{name} acts on a Dirichlet distribution, but {kind} draws from none: use the relaxation "
                "dnas.Dirichlet, or search.alphas.weight_decay, which decays any alphas."
            )


def check_budget(budget: Budget, penalties: Sequence[Penalty]) -> None:
    """Refuse to pay for costs twice.

    Raises:
        UserError: an ExpectedCost beside a budget with a price.
    """
    if budget.priced and any(isinstance(penalty, ExpectedCost) for penalty in penalties):
        raise UserError(
            "A budget with priced: true is held by a price of its own during the search, and ExpectedCost would pay "
            "for costs a second time: leave one of them out."
        )


def check_discretization(
    discretization: Discretization, relaxation: Relaxation, *, tuning_lr: float | None = None
) -> None:
    """Refuse a discretization that needs something the relaxation does not provide.

    Args:
        discretization, relaxation: parts of the search.
        tuning_lr: learning rate of the training within the discretization, if it is set.

    Raises:
        UserError: says why they do not fit, and what to use instead.
    """
    name, kind = type(discretization).__name__, type(relaxation).__name__
    if not (relaxation.trains_alphas or discretization.needs_training):
        raise UserError(
            f"{name} reads the mixture, but {kind} trains no alphas, so all candidates weigh the "
            "same: use dnas.Evolution, dnas.RandomSampling or dnas.Perturbation, which evaluate the supernet, or a "
            "relaxation such as dnas.Softmax."
        )
    rule = discretization.rule if isinstance(discretization, LimitedSkips) else discretization
    if isinstance(rule, Threshold) and rule.threshold >= 0.5 and not relaxation.gates:
        raise UserError(
            f"Threshold({rule.threshold:g}) is for gates, but with {kind} the weights of an edge's candidates add up "
            "to 1, so none passes before it outweighs all others. Use dnas.Argmax, the relaxation dnas.Sigmoid, or a "
            "threshold below 0.5."
        )
    if tuning_lr is not None and not _trains(discretization):
        raise UserError(
            f"tuning_lr = {tuning_lr:g} has no effect: {name} does not train the supernet. Leave it out, or use the "
            "discretization dnas.Perturbation."
        )


def _trains(discretization: Discretization) -> bool:
    """Whether it may train the weights further; a user's own discretization that needs training may."""
    if isinstance(discretization, Perturbation):
        return discretization.epochs_between > 0
    return discretization.needs_training and not isinstance(discretization, Evolution | RandomSampling)


def check_without_alphas(relaxation: Relaxation, idle: Sequence[str]) -> None:
    """Refuse settings for training the alphas in a search that trains none.

    Args:
        relaxation: the relaxation of the search.
        idle: names of the settings for alphas that are set.

    Raises:
        UserError: names the settings.
    """
    if idle and not relaxation.trains_alphas:
        raise UserError(
            f"{' and '.join(idle)} would have no effect: {type(relaxation).__name__} trains no alphas. Leave it out, "
            "or use a relaxation such as dnas.Softmax."
        )
