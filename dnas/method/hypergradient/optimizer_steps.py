"""Optimizer steps as pure, differentiable functions, equal to those of `torch.optim`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.method.hypergradient.base import InnerStep, State, Tensors
from dnas.system.errors import UserError


@dataclass(frozen=True)
class SGDSettings:
    """The settings of `torch.optim.SGD` per parameter group, except weight decay."""

    lr: float | Tensor
    momentum: float
    dampening: float
    nesterov: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class SGDStep(InnerStep):
    """One step of `torch.optim.SGD`.

    d = g + wd w,   b' = mu b + (1 - dampening) d  (d at first),   w' = w - lr b'  (Nesterov: d + mu b')
    """

    settings: dict[str, SGDSettings]

    def __call__(self, weights: Tensors, gradients: Tensors, state: State) -> tuple[Tensors, State]:
        new_weights, new_state = dict(weights), {}
        for name in self.weight_decay:
            settings = self.settings[name]
            d = _with_decay(gradients[name], weights[name], self.weight_decay[name])
            new_state[name] = {}
            if settings.momentum != 0:
                b = state[name].get("momentum_buffer")
                b = d if b is None else _add(settings.momentum * b, d, 1 - settings.dampening)
                new_state[name] = {"momentum_buffer": b}
                d = _add(d, b, settings.momentum) if settings.nesterov else b
            new_weights[name] = _add(weights[name], d, -settings.lr)
        return new_weights, new_state


@dataclass(frozen=True)
class AdamSettings:
    """The settings of `torch.optim.Adam` and `AdamW` per parameter group, except weight decay."""

    lr: float | Tensor
    beta1: float | Tensor
    beta2: float | Tensor
    eps: float
    decoupled: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class AdamStep(InnerStep):
    """One step of `torch.optim.Adam`, or of `AdamW` if the decay is decoupled.

        d = g + wd w  (AdamW: d = g, w shrinks by 1 - lr wd)
        m' = beta1 m + (1 - beta1) d,   s' = beta2 s + (1 - beta2) d^2
        w' = w - lr / (1 - beta1^t) m' / (sqrt(s' / (1 - beta2^t)) + eps)

    If s' = 0 (d and s are both 0: a weight that has taken no part so far), the derivative in d is taken as 0. The
    formula's own is lr / eps there, 10^8 times the step of any other weight, and autograd's is NaN.
    """

    settings: dict[str, AdamSettings]

    def __call__(self, weights: Tensors, gradients: Tensors, state: State) -> tuple[Tensors, State]:
        new_weights, new_state = dict(weights), {}
        for name, weight_decay in self.weight_decay.items():
            settings, w, d = self.settings[name], weights[name], gradients[name]
            if settings.decoupled:
                w = w * (1 - settings.lr * weight_decay)
            else:
                d = _with_decay(d, w, weight_decay)
            m, s, t = (state[name][key] for key in ("exp_avg", "exp_avg_sq", "step"))
            t = t.detach() + 1

            alive = settings.beta2 * s.detach() + (1 - settings.beta2) * d.detach().square() > 0
            d = torch.where(alive, d, d.detach())
            m = settings.beta1 * m + (1 - settings.beta1) * d
            s = settings.beta2 * s + (1 - settings.beta2) * d.square()
            root = torch.where(alive, torch.where(alive, s, 1.0).sqrt(), 0.0)
            bias1, bias2 = 1 - settings.beta1**t, 1 - settings.beta2**t
            new_weights[name] = w - settings.lr / bias1 * m / (root / bias2.sqrt() + settings.eps)
            new_state[name] = {"exp_avg": m, "exp_avg_sq": s, "step": t}
        return new_weights, new_state


def functional_step(optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]) -> InnerStep:
    """The next step of `optimizer` as a function, with its current settings and state.

    The state shares memory with the optimizer's: use the step before `optimizer.step()` is called again.

    Args:
        optimizer: `torch.optim.SGD`, `Adam` or `AdamW` in any implementation (`fused`, `foreach`, ...); it is not
            changed.
        named: the weights by name, such as `dict(model.named_parameters())`. Weights that are frozen or in none of the
            optimizer's groups stay as they are in the step.

    Raises:
        UserError: the optimizer is another one, has an option that is not supported, or holds none of the weights.

    Example:
        >>> weight = nn.Parameter(torch.tensor([2.0]))
        >>> step = functional_step(torch.optim.SGD([weight], lr=0.5), {"weight": weight})
        >>> step({"weight": weight.detach()}, {"weight": torch.tensor([1.0])}, step.state)[0]
        {'weight': tensor([1.5000])}
    """
    if type(optimizer) not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        raise UserError(
            f"No differentiable step is known for {type(optimizer).__name__}: second-order hypergradients take "
            "torch.optim.SGD, Adam and AdamW (not their subclasses); FirstOrder() takes any optimizer."
        )
    groups = _groups_by_name(optimizer, named)
    weight_decay = {name: _constant(group["weight_decay"]) for name, group in groups.items()}
    state = {name: optimizer.state.get(named[name], {}) for name in groups}  # indexing would create an entry
    if type(optimizer) is torch.optim.SGD:
        return SGDStep(
            state={name: _momentum_buffer(tensors) for name, tensors in state.items()},
            weight_decay=weight_decay,
            settings={name: _sgd_settings(group) for name, group in groups.items()},
        )
    return AdamStep(
        state={name: _moments(tensors, named[name]) for name, tensors in state.items()},
        weight_decay=weight_decay,
        decoupled=any(group["decoupled_weight_decay"] for group in groups.values()),
        settings={name: _adam_settings(group) for name, group in groups.items()},
    )


def _groups_by_name(optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]) -> dict[str, dict[str, Any]]:
    """The parameter group of every weight that the optimizer moves, in the order of `named`."""
    group_of = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    groups = {
        name: group_of[parameter]
        for name, parameter in named.items()
        if parameter.requires_grad and parameter in group_of
    }
    if not groups:
        raise UserError(
            f"The optimizer holds none of the {len(named)} weights, or all of them are frozen: build it from the "
            "parameters of the model that is searched."
        )
    for option in ("maximize", "amsgrad"):
        if any(group.get(option) for group in groups.values()):
            raise UserError(
                f"No differentiable step is known for {type(optimizer).__name__} with {option}=True: leave {option} "
                "out, or use FirstOrder(), which takes any optimizer."
            )
    return groups


def _sgd_settings(group: dict[str, Any]) -> SGDSettings:
    return SGDSettings(_constant(group["lr"]), group["momentum"], group["dampening"], group["nesterov"])


def _adam_settings(group: dict[str, Any]) -> AdamSettings:
    beta1, beta2 = group["betas"]
    decoupled = group["decoupled_weight_decay"]
    return AdamSettings(_constant(group["lr"]), _constant(beta1), _constant(beta2), group["eps"], decoupled)


def _constant(setting: Any) -> Any:
    """A number, or a tensor with one element as a constant of shape ()."""
    return setting.detach().reshape(()) if isinstance(setting, Tensor) else setting


def _momentum_buffer(state: Mapping[str, Any]) -> Tensors:
    buffer = state.get("momentum_buffer")
    return {} if buffer is None else {"momentum_buffer": buffer.detach()}


def _moments(state: Mapping[str, Any], parameter: nn.Parameter) -> Tensors:
    zeros = torch.zeros_like(parameter, requires_grad=False)
    # In float64, because beta2^t of a float32 t is wrong in the eighth digit (torch.optim computes it in Python).
    step = torch.as_tensor(state.get("step", 0.0), dtype=torch.float64)
    return {
        "exp_avg": state.get("exp_avg", zeros).detach(),
        "exp_avg_sq": state.get("exp_avg_sq", zeros).detach(),
        "step": step.detach(),
    }


def _with_decay(gradient: Tensor, weight: Tensor, weight_decay: float | Tensor) -> Tensor:
    if isinstance(weight_decay, Tensor) or weight_decay != 0:
        return _add(gradient, weight, weight_decay)
    return gradient


def _add(a: Tensor, b: Tensor, scale: float | Tensor) -> Tensor:
    """a + scale b; one kernel if `scale` is a number (a DARTS supernet has 1,500 weights)."""
    return a + scale * b if isinstance(scale, Tensor) else torch.add(a, b, alpha=scale)
