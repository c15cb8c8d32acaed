"""Which ReLUs are on for which samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dnas.system.errors import UserError
from dnas.training.evaluate import call


class _Listening(TorchDispatchMode):
    """Notes the outputs of every ReLU, also of those that are functions and not modules."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.relu.default, torch.ops.aten.relu_.default):
            self.codes.append((outputs > 0).flatten(1))
        return outputs


def relu_codes(network: nn.Module, inputs: Any) -> Tensor:
    """`(samples, units)` bool: whether each ReLU's output is above 0. Batch norm uses the statistics of the batch.

    Raises:
        UserError: the network has no ReLU.
    """
    with torch.no_grad(), _Listening() as listening:
        call(network.train(), inputs)
    if not listening.codes:
        raise UserError(f"{type(network).__name__} has no ReLU, which this score looks at: use another one.")
    return torch.cat(listening.codes, dim=1)
