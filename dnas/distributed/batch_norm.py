"""Batch norm with the statistics of the whole batch, of which each process holds some rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dnas.distributed.ranks import Ranks, ranks

_IS_SYNCHRONISED: ContextVar[bool] = ContextVar("_IS_SYNCHRONISED", default=True)
_ARGUMENTS = ("x", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


class SynchronisedBatchNorm(TorchFunctionMode):
    """Within the block every `F.batch_norm` that uses the statistics of its batch uses those of all ranks' rows.

    It covers `nn.BatchNorm1d` to `3d` and every module that calls the function, and changes no module. Unlike
    `nn.SyncBatchNorm` it works on the CPU too, and can be differentiated any number of times.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = dict(kwargs or {})
        if func is not F.batch_norm or ranks().size == 1 or not _IS_SYNCHRONISED.get():
            return func(*args, **keywords)
        keywords = {"x" if name == "input" else name: value for name, value in keywords.items()}
        given = {**dict(zip(_ARGUMENTS, args, strict=False)), **keywords}
        if not given.get("training", False):
            return func(*args, **(kwargs or {}))
        return batch_norm(ranks(), **given)


@contextmanager
def batch_norm_over_ranks(synchronised: bool) -> Iterator[None]:
    """Within the block batch norm has the statistics of all ranks' rows, or on each rank those of its own."""
    token = _IS_SYNCHRONISED.set(synchronised)
    try:
        yield
    finally:
        _IS_SYNCHRONISED.reset(token)


def batch_norm(
    current: Ranks,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` in training, over the rows of all ranks; differentiable any number of times.

        n = sum_r n_r,   mu = sum_r n_r mu_r / n,   var = sum_r n_r (var_r + mu_r^2) / n - mu^2

    The sums over ranks are taken in float64, so that the difference loses no digits of float32; one message each way.

    Args:
        current: the processes.
        x: this rank's rows, `(rows, channels, ...)`; their number may differ between ranks.
        running_mean, running_var, weight, bias, training, momentum, eps: as for `F.batch_norm`.
    """
    channels = x.shape[1]
    shape = [1, channels] + [1] * (x.ndim - 2)
    own = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    var_C, mean_C = torch.var_mean(own, [0, *range(2, x.ndim)], correction=0)
    var_C, mean_C = var_C.double(), mean_C.double()
    count = torch.full((1,), x.numel() // channels, dtype=torch.float64, device=x.device)
    own_sums = torch.cat([count, count * mean_C, count * (var_C + mean_C.square())])
    (sums,) = current.spread(current.add_up([own_sums]))  # of all rows, for this rank's rows
    total, mean_C, square_C = sums[0], *(sums[1:] / sums[0]).split(channels)
    var_C = (square_C - mean_C.square()).clamp(min=0)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean_C.to(running_mean), momentum)
        if running_var is not None:
            running_var.lerp_((var_C * total / (total - 1)).to(running_var), momentum)
    scale_C = (var_C + eps).rsqrt().to(own.dtype)
    y = (own - mean_C.to(own.dtype).view(shape)) * (scale_C if weight is None else scale_C * weight).view(shape)
    return (y if bias is None else y + bias.view(shape)).to(x.dtype)
