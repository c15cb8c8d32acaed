"""The number of floating-point operations of a forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dnas.core.functional import call_with

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

# A tensor (the model is called as `model(inputs)`), a tuple or list (`model(*inputs)`) or a dict (`model(**inputs)`).
Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


def count_flops(model: nn.Module, example_inputs: Inputs) -> int:
    """FLOPs of one forward pass over `example_inputs`, as `torch.utils.flop_counter` counts them.

    A multiplication and the addition after it are 2 FLOPs; convolutions, linear layers, other matrix products and
    attention count, while normalisation, pooling, activations and sums do not. Papers mostly give 'multi-adds' (or
    MACs, also under the name of FLOPs), which are half of this. NAS-Bench-201's table agrees except for the 10
    additions of its classifier's bias. Others state more for their ImageNet networks: PC-DARTS 597M for 581M here (1.16
    GFLOP), P-DARTS 557M for 542M, DARTS 574M for 529M. Perhaps they also count normalisation and activations, which
    would explain the first two.

    Only the forward pass is counted: the counter multiplies weight gradients of grouped convolutions by their groups.

    The model runs in its current mode; its weights, buffers and the state of random generators stay as they were. A
    model and inputs on the 'meta' device are counted without computing anything.

    Args:
        model: any module.
        example_inputs: inputs with the batch size to count for, on the model's device.

    Example:
        >>> count_flops(nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.zeros(1, 3, 32, 32))
        442368
    """
    return _counted(model, example_inputs).get_total_flops()


def flops_by_module(model: nn.Module, example_inputs: Inputs) -> dict[str, int]:
    """FLOPs of one forward pass in each submodule that is called, by its name; the whole model is named ''.

    Args:
        model: any module.
        example_inputs: inputs with the batch size to count for, on the model's device.
    """
    root = type(model).__name__
    found: dict[str, int] = {"": 0}
    for name, counts in _counted(model, example_inputs).get_flop_counts().items():
        flops = sum(counts.values())
        if name == "Global":
            found[""] = flops
        elif name.startswith(f"{root}."):
            found[name.removeprefix(f"{root}.")] = flops
    return found


# torch (2.13) counts the operators of attention for GPUs, but not the one that it uses on a CPU.
_ATTENTION_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def operator_flops(
    operator: torch._ops.OpOverload, arguments: tuple[Any, ...], keywords: Mapping[str, Any], out: Any
) -> int:
    """FLOPs of one call of an operator, counted as in `count_flops`."""
    from torch.utils.flop_counter import flop_registry

    count = flop_registry.get(operator.overloadpacket)
    return 0 if count is None else count(*arguments, **keywords, out_val=out)


def _counted(model: nn.Module, example_inputs: Inputs) -> FlopCounterMode:
    from torch.utils.flop_counter import FlopCounterMode  # brings Triton, a quarter of a second

    counter = FlopCounterMode(display=False, custom_mapping={_ATTENTION_ON_CPU: _attention_flops})
    with counter:
        run_without_trace(model, example_inputs)
    return counter


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    from torch.utils.flop_counter import sdpa_flop

    return sdpa_flop(query, key, value)


def run_without_trace(model: nn.Module, example_inputs: Inputs) -> Any:
    """The model's outputs, without gradient; buffers and random generators stay as they were."""
    arguments, keywords = call_arguments(example_inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=_accelerators(model)):
        return call_with(model, {}, arguments, keywords, copy_buffers=True)


def call_arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs), {}) if isinstance(inputs, tuple | list) else ((inputs,), {})


def _accelerators(model: nn.Module) -> list[torch.device]:
    """The CUDA devices on which the model has tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    return sorted({tensor.device for tensor in tensors if tensor.device.type == "cuda"}, key=str)
