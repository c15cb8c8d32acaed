"""Gradient clipping inside a virtual step, differentiable."""

from torch import Tensor

from dnas.method.hypergradient.autodiff import norm
from dnas.method.hypergradient.base import Tensors
from dnas.system.errors import UserError


def clip(gradients: Tensors, max_norm: float | None) -> Tensors:
    """Scale `gradients` to a norm of `max_norm` or less, as `torch.nn.utils.clip_grad_norm_` does, unless it is None.

        g min(1, max_norm / (|g| + 1e-6))

    |g| runs over all weights. Its derivative at g = 0 is 0 (PyTorch's own subgradient), so zero gradients give no NaN.
    """
    if max_norm is None:
        return gradients
    coefficient: Tensor = (max_norm / (norm(gradients) + 1e-6)).clamp(max=1.0)
    return {name: gradient * coefficient.to(gradient.dtype) for name, gradient in gradients.items()}


def check_clip(max_norm: float | None) -> None:
    """Raise UserError unless `max_norm` is None or positive."""
    if max_norm is not None and not max_norm > 0:
        raise UserError(f"clip is the largest norm of the inner gradient, positive or None, not {max_norm}.")
