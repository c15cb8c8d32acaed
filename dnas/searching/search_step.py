"""One step of a search: first the alphas on one half of the data, then the weights on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dnas.core.batch import Batch, map_tensors
from dnas.core.mixture import Mixture
from dnas.core.progress import set_progress
from dnas.method.hypergradient import FirstOrder, Hypergradient
from dnas.method.hypergradient.autodiff import gradients, pull_back
from dnas.method.hypergradient.optimizer_steps import functional_step
from dnas.method.penalty import Penalty
from dnas.method.relaxation import Relaxation, Softmax
from dnas.method.smoothing import Smoothing
from dnas.searching.supernet import Aux, Supernet
from dnas.system.errors import UserError


@dataclass(frozen=True)
class StepResult:
    """What one step reports; nothing in it is read from the device until somebody asks.

    Args:
        loss: loss of the weight step before the update; a scalar without gradient.
        scalars: values to log, as scalars without gradient: `train_loss`, the weights' `gradient_norm` before clipping,
            the criterion's own terms and, if the alphas took a step, `val_loss` with all penalties, at the weights
            where the hypergradient was taken.
        num_samples: number of samples in the weight batch.
        aux: outputs and carried state of the weight step.
    """

    loss: Tensor
    scalars: dict[str, Tensor]
    num_samples: int
    aux: Aux


def search_step(
    supernet: Supernet,
    *,
    weight_batch: Sequence[Any],
    weight_optimizer: torch.optim.Optimizer,
    alpha_batch: Sequence[Any] | None = None,
    alpha_optimizer: torch.optim.Optimizer | None = None,
    relaxation: Relaxation = Softmax(),
    hypergradient: Hypergradient = FirstOrder(),
    penalties: Sequence[Penalty] = (),
    smoothing: Smoothing | None = None,
    progress: Tensor | float = 0.0,
    generator: torch.Generator | None = None,
    clip: float | None = None,
    clip_over: Literal["weights", "alphas", "mixtures"] = "weights",
    weights_first: bool = False,
    inner_batches: Sequence[Sequence[Any]] = (),
) -> StepResult:
    """One architecture step and one weight step (DARTS, Liu et al. 2019, algorithm 1).

    Without an architecture batch it is a plain training step of the weights. Gradients are assigned, never added to the
    `.grad` that is there, so `zero_grad` is not needed. `one_level_step` takes alphas and weights from one pass.
    The step is one function, so that the whole method reads from top to bottom.

    Args:
        supernet: the supernet whose weights and alphas are updated.
        weight_batch: `(inputs, targets)` from the weights' half of the data.
        weight_optimizer: any `torch.optim` optimizer over the model's parameters (an unrolled hypergradient needs SGD,
            Adam or AdamW).
        alpha_batch: `(inputs, targets)` from the alphas' half.
        alpha_optimizer: any optimizer over `supernet.alpha_parameters()`.
        relaxation, hypergradient, penalties: the parts of the method.
        smoothing: how the mixtures of the weight step are disturbed; None for no disturbance.
        progress: progress of the search, from 0 to 1.
        generator: generator of the relaxation's samples; None for the global one.
        clip: largest norm of the weights' gradient; None for no clipping.
        clip_over: whose gradients count in that norm beside the weights': those of the alphas or of the mixtures.
        weights_first: whether the weights move before the alphas.
        inner_batches: batches that follow `weight_batch`, for a hypergradient of several inner steps.

    Raises:
        UserError: only one of `alpha_batch` and `alpha_optimizer` is given, `alpha_optimizer` holds other tensors than
            the alphas, a batch is not a pair, there are too few inner batches, or the hypergradient cannot unroll the
            weight optimizer.
    """
    progress = torch.as_tensor(progress, dtype=torch.float32)
    set_progress(supernet.model, progress)
    scalars: dict[str, Tensor] = {}
    if (alpha_batch is None) != (alpha_optimizer is None):
        raise UserError("An architecture step needs both alpha_batch and alpha_optimizer; got only one of them.")
    batch = _as_batch(weight_batch)

    def move_alphas() -> None:
        if alpha_batch is None or alpha_optimizer is None:
            return
        _check_holds_alphas(alpha_optimizer, supernet)
        mixtures = supernet.sample(relaxation, progress, generator)
        problem = ArchitectureProblem(
            supernet,
            mixtures,
            val_batch=_as_batch(alpha_batch),
            train_batches=[batch, *map(_as_batch, inner_batches)],
            penalties=penalties,
            progress=progress,
        )
        scalars["val_loss"] = assign_alpha_grad(supernet, mixtures, problem, hypergradient, weight_optimizer)
        alpha_optimizer.step()

    def move_weights() -> tuple[Tensor, Aux]:
        # The weight step uses its own draw from the alphas of the moment, without gradient unless clipping asks for it.
        with torch.set_grad_enabled(clip_over == "alphas"):
            mixtures = supernet.sample(relaxation, progress, generator)
        weights = supernet.weights()
        if smoothing is not None:
            mixtures = smoothing(mixtures, lambda m: supernet.loss(weights, m, batch)[0], progress, generator)
        beside: dict[str, Tensor] = {}
        if clip_over == "alphas":
            beside = dict(supernet.alphas)
        elif clip_over == "mixtures":
            mixtures = {name: m.with_values(m.values.requires_grad_()) for name, m in mixtures.items()}
            beside = {name: m.values for name, m in mixtures.items()}
        loss, aux = supernet.loss(weights, mixtures, batch, update_buffers=True)
        _check_gradient(loss, weights, mixtures)
        found, others = gradients(loss, dict(weights), beside)
        scalars["gradient_norm"] = update_weights(weights, found, weight_optimizer, clip, beside=others)
        return loss, aux

    if weights_first:
        loss, aux = move_weights()
        move_alphas()
    else:
        move_alphas()
        loss, aux = move_weights()
    return _result(loss, aux, scalars, batch)


def one_level_step(
    supernet: Supernet,
    *,
    batch: Sequence[Any],
    weight_optimizer: torch.optim.Optimizer,
    alpha_optimizer: torch.optim.Optimizer,
    relaxation: Relaxation = Softmax(),
    penalties: Sequence[Penalty] = (),
    progress: Tensor | float = 0.0,
    generator: torch.Generator | None = None,
    clip: float | None = None,
) -> StepResult:
    """Update alphas and weights from the same pass over one batch: `min L(w, alpha)` over both (SNAS, Xie et al. 2019,
    https://arxiv.org/abs/1812.09926, section 2.2).

    Both gradients are taken at the same weights and the same draw, so a step costs one pass. Penalties shape the loss
    of the alphas; those that multiply the loss act on the weights too.

    Args:
        supernet: the supernet whose weights and alphas are updated.
        batch: `(inputs, targets)`.
        weight_optimizer, alpha_optimizer, relaxation, penalties, progress, generator, clip: as in `search_step`.

    Raises:
        UserError: as in `search_step`.
    """
    progress = torch.as_tensor(progress, dtype=torch.float32)
    set_progress(supernet.model, progress)
    data = _as_batch(batch)
    _check_holds_alphas(alpha_optimizer, supernet)
    mixtures = supernet.sample(relaxation, progress, generator)
    weights = supernet.weights()
    loss, aux = supernet.loss(weights, mixtures, data, update_buffers=True)
    _check_gradient(loss, weights, mixtures)
    outer = loss
    for penalty in penalties:
        outer = penalty(outer, supernet.alphas, mixtures, progress)
    for_weights, for_alphas = gradients(outer, dict(weights), supernet.alphas)
    for name, alpha in supernet.alphas.items():
        alpha.grad = for_alphas[name]
    norm = update_weights(weights, for_weights, weight_optimizer, clip)
    alpha_optimizer.step()
    return _result(loss, aux, {"val_loss": outer.detach(), "gradient_norm": norm}, data)


def update_weights(
    weights: Mapping[str, nn.Parameter],
    found: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    clip: float | None,
    *,
    beside: Mapping[str, Tensor] = {},
) -> Tensor:
    """Assign gradients, clip their norm and take a step; returns the norm before clipping.

    Args:
        weights, found: weights and their gradients by name.
        optimizer: optimizer of the weights.
        clip: largest norm; None for no clipping.
        beside: other gradients that count in the norm.
    """
    # A weight that took no part gets a zero gradient, so that momentum and decay act on it as on any other.
    for name, weight in weights.items():
        gradient = found[name]
        weight.grad = gradient.clone() if 0 in gradient.stride() else gradient  # one of a sum is one number, expanded
    _forget_frozen(optimizer)
    own = [weight.grad for weight in weights.values() if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm([*own, *beside.values()])
    torch.nn.utils.clip_grads_with_norm_(list(weights.values()), torch.inf if clip is None else clip, norm)
    optimizer.step()
    return norm


def _result(loss: Tensor, aux: Aux, scalars: dict[str, Tensor], batch: Batch) -> StepResult:
    found = {"train_loss": loss.detach(), **scalars}
    found |= {name: term.detach() for name, term in aux.terms.items()}
    return StepResult(loss.detach(), found, batch.num_samples, _detached(aux))


def assign_alpha_grad(
    supernet: Supernet,
    mixtures: Mapping[str, Mixture],
    problem: ArchitectureProblem,
    hypergradient: Hypergradient,
    weight_optimizer: torch.optim.Optimizer,
) -> Tensor:
    """Set (not add to) the gradient of every alpha; returns the validation loss.

    d L / d alpha = (d mixture / d alpha)^T dL/d mixture + dL/d alpha, where the second term comes from penalties on
    the alphas themselves. All passes of the hypergradient see the same draw of the mixture.
    """
    weights = supernet.weights()
    if hypergradient.num_train_batches > len(problem.train_batches):
        raise UserError(
            f"{type(hypergradient).__name__} takes {hypergradient.num_train_batches} training batches per step; got "
            f"{len(problem.train_batches)}: weight_batch and inner_batches together must be as many."
        )
    step = functional_step(weight_optimizer, weights) if hypergradient.needs_step else None
    found = hypergradient(problem, dict(weights), problem.outer(), step)
    direct, through = (
        {name: found.gradient[_key(kind, name)] for name in supernet.alphas} for kind in ("alpha", "mixture")
    )
    (relaxed,) = pull_back([(mixtures[name].values, through[name]) for name in supernet.alphas], supernet.alphas)
    for name, alpha in supernet.alphas.items():
        alpha.grad = relaxed[name] + direct[name]
    return found.val_loss


@dataclass(frozen=True)
class ArchitectureProblem:
    """The two losses of a search as functions of the weights and of the outer variables, mixtures and alphas.

    Args:
        supernet: the supernet that gives the losses.
        mixtures: the draw that all passes see; its `active` lists stay fixed.
        val_batch: batch of the alphas' half.
        train_batches: batches of the weights' half, one for each inner step.
        penalties: applied to the validation loss in this order.
        progress: progress of the search, a scalar tensor.
    """

    supernet: Supernet
    mixtures: Mapping[str, Mixture]
    val_batch: Batch
    train_batches: Sequence[Batch]
    penalties: Sequence[Penalty]
    progress: Tensor

    def outer(self) -> dict[str, Tensor]:
        """The outer variables: detached mixtures and alphas."""
        mixtures = {_key("mixture", name): mixture.values.detach() for name, mixture in self.mixtures.items()}
        return mixtures | {_key("alpha", name): alpha.detach() for name, alpha in self.supernet.alphas.items()}

    def train(self, weights: Mapping[str, Tensor], outer: Mapping[str, Tensor], index: int) -> Tensor:
        """Loss of the weights on the inner batch `index`."""
        return self.supernet.loss(weights, self._mixtures(outer), self.train_batches[index])[0]

    def val(self, weights: Mapping[str, Tensor], outer: Mapping[str, Tensor]) -> Tensor:
        """Loss of the architecture, with all penalties."""
        mixtures = self._mixtures(outer)
        alphas = {name: outer[_key("alpha", name)] for name in self.supernet.alphas}
        loss, _ = self.supernet.loss(weights, mixtures, self.val_batch)
        for penalty in self.penalties:
            loss = penalty(loss, alphas, mixtures, self.progress)
        return loss

    def _mixtures(self, outer: Mapping[str, Tensor]) -> dict[str, Mixture]:
        return {name: m.with_values(outer[_key("mixture", name)]) for name, m in self.mixtures.items()}


def _key(kind: str, name: str) -> str:
    return f"{kind}/{name}"


def _as_batch(batch: Sequence[Any]) -> Batch:
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        got = type(batch).__name__ + (f" of length {len(batch)}" if isinstance(batch, tuple | list) else "")
        raise UserError(f"A batch must be a pair (inputs, targets) or a dnas.Batch; got a {got}.")
    return Batch(*batch)


def _check_gradient(loss: Tensor, weights: Mapping[str, Tensor], mixtures: Mapping[str, Mixture]) -> None:
    """Check that the loss depends on the weights, unless not all candidates are computed."""
    if weights and not loss.requires_grad and all(mixture.active is None for mixture in mixtures.values()):
        raise UserError(
            "The model's outputs have no gradient, so that the search would move nothing: leave out detach(), "
            "no_grad() and whole numbers on the way from its weights to its outputs."
        )


def _check_holds_alphas(optimizer: torch.optim.Optimizer, supernet: Supernet) -> None:
    alphas = {id(alpha) for alpha in supernet.alpha_parameters()}
    if not all(id(tensor) in alphas for group in optimizer.param_groups for tensor in group["params"]):
        raise UserError(
            "alpha_optimizer holds tensors that are not alphas of this supernet: build it from "
            "supernet.alpha_parameters(), after supernet.to(...), which makes new alphas."
        )


def _forget_frozen(optimizer: torch.optim.Optimizer) -> None:
    """Clear the `.grad` of weights that were frozen since, which the optimizer would still apply."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if not weight.requires_grad:
                weight.grad = None


def _detached(aux: Aux) -> Aux:
    return Aux(*(map_tensors(Tensor.detach, part) for part in (aux.outputs, dict(aux.terms), aux.carry)))
