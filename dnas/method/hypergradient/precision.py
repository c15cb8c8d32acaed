"""Full float32 for passes whose results are subtracted: autocast, TF32 and bfloat16 products are switched off.

The relative error of a finite-difference hypergradient of the DARTS supernet against float64 was 0.9% in float32, 20%
with TF32 and 55% under bfloat16 autocast.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TypeVar

import torch

from dnas.method.hypergradient.base import Tensors
from dnas.system.errors import UserError

T = TypeVar("T")


@contextmanager
def full_precision(*tensors: Tensors) -> Iterator[None]:
    """Switch off autocast (on the devices of `tensors`) and reduced-precision products within the block."""
    device_types = {tensor.device.type for group in tensors for tensor in group.values()}
    with ExitStack() as stack:
        for device_type in sorted(device_types):
            stack.enter_context(torch.autocast(device_type, enabled=False))
        stack.enter_context(_float32_products())
        yield


@contextmanager
def in_precision(name: str, device: torch.device) -> Iterator[None]:
    """Within the block, compute products on `device` in 'float32', 'tf32' (the same on a CPU) or 'bf16'.

    bf16 uses autocast without its cache of weights: they change within a step, and a cached copy would be outdated.

    Raises:
        UserError: the name is not one of these.
    """
    match name:
        case "float32":
            context = full_precision({"": torch.empty(0, device=device)})
        case "tf32":
            context = tf32_products() if device.type == "cuda" else nullcontext()
        case "bf16":
            context = torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
        case _:
            raise UserError(f"precision must be float32, tf32 or bf16; got {name!r}.")
    with context:
        yield


@contextmanager
def tf32_products() -> Iterator[None]:
    """Within the block, compute float32 products in TF32 on GPUs that support it.

    If PyTorch's older and newer settings contradict each other, they stay as the user has set them.
    """
    matmul_precision = _if_readable(torch.get_float32_matmul_precision)
    allow_tf32 = _if_readable(lambda: torch.backends.cudnn.allow_tf32)
    try:
        _set_older("high" if matmul_precision else None, None if allow_tf32 is None else True)
        yield
    finally:
        _set_older(matmul_precision, allow_tf32)


@contextmanager
def _float32_products() -> Iterator[None]:
    """Within the block, compute float32 products in float32, whatever PyTorch's two kinds of settings allow.

    PyTorch has an older setting (`set_float32_matmul_precision`, `cudnn.allow_tf32`) and a newer one per backend and
    operation (`fp32_precision`). A model that reads the older one gets an error if the two disagree, so both are
    switched off, and both are restored afterwards.
    """
    switches = _switches()
    before = [switch.fp32_precision for switch in switches]
    matmul_precision = _if_readable(torch.get_float32_matmul_precision)
    allow_tf32 = _if_readable(lambda: torch.backends.cudnn.allow_tf32)
    try:
        _set_older("highest" if matmul_precision else None, False if allow_tf32 else None)
        for switch in switches:
            if switch.fp32_precision in ("tf32", "bf16"):
                switch.fp32_precision = "ieee"
        yield
    finally:
        _set_older(matmul_precision, allow_tf32)
        for switch, value in zip(switches, before, strict=True):
            # 'none' inherits from the backend's setting, which gave `value` unless the switch itself had been set.
            switch.fp32_precision = "none"
            if switch.fp32_precision != value:
                switch.fp32_precision = value


def _switches() -> list:
    """PyTorch's settings per backend and operation, each with an attribute `fp32_precision`."""
    cuda, mkldnn = torch.backends.cuda, torch.backends.mkldnn
    cudnn_conv = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    return [cuda.matmul, cudnn_conv, torch.backends.cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]


def _if_readable(read: Callable[[], T]) -> T | None:
    """The older setting, or None if the newer one contradicts it, which makes PyTorch raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # releases before 2.13 deprecate the older setting
        try:
            return read()
        except RuntimeError:
            return None


def _set_older(matmul_precision: str | None, allow_tf32: bool | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if matmul_precision is not None:
            torch.set_float32_matmul_precision(matmul_precision)
        if allow_tf32 is not None:
            torch.backends.cudnn.allow_tf32 = allow_tf32
