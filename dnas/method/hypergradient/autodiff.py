"""Gradients of tensors by name, with zeros for unused tensors."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dnas.method.hypergradient.base import Tensors
from dnas.system.errors import UserError


def leaves(tensors: Tensors) -> Tensors:
    """Leaves that share memory with `tensors` and collect no `.grad` there."""
    return {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}


def detached(tensors: Tensors) -> Tensors:
    """The same values without gradient."""
    return {name: tensor.detach() for name, tensor in tensors.items()}


def pull_back(
    outputs: Iterable[tuple[Tensor, Tensor]],
    *inputs: Tensors,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[Tensors, ...]:
    """Vector-Jacobian product: sum over `(output, cotangent)` of cotangent^T d output / d input, for each of `inputs`.

    `autograd.grad` refuses outputs without a graph (a loss that is linear in w has a constant gradient); here their
    derivative is 0.
    """
    flat = [tensor for tensors in inputs for tensor in tensors.values()]
    live = [(output, cotangent) for output, cotangent in outputs if output.requires_grad]
    if not live or not flat:
        return tuple({name: torch.zeros_like(tensor) for name, tensor in tensors.items()} for tensors in inputs)
    gradients = iter(
        torch.autograd.grad(
            [output for output, _ in live],
            flat,
            [cotangent for _, cotangent in live],
            create_graph=create_graph,
            retain_graph=retain_graph,
            materialize_grads=True,
        )
    )
    return tuple({name: next(gradients) for name in tensors} for tensors in inputs)


def gradients(loss: Tensor, *inputs: Tensors, create_graph: bool = False) -> tuple[Tensors, ...]:
    """d loss / d input for each of `inputs`.

    Raises:
        UserError: the loss is not a scalar.
    """
    if loss.shape != ():
        raise UserError(f"A loss must be a scalar of shape (), not {tuple(loss.shape)}: take its mean or sum.")
    return pull_back([(loss, torch.ones_like(loss))], *inputs, create_graph=create_graph)


def add(a: Tensors, b: Tensors, *, scale: float | Tensor = 1.0) -> Tensors:
    """a + scale b, by name; one kernel per tensor."""
    if isinstance(scale, Tensor):
        return {name: torch.addcmul(a[name], b[name], scale) for name in a}
    return {name: torch.add(a[name], b[name], alpha=scale) for name in a}


def dot(a: Tensors, b: Tensors) -> Tensor:
    """Inner product over all entries, shape ()."""
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()


def norm(tensors: Tensors) -> Tensor:
    """Euclidean norm over all entries, shape ()."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors.values()]))
