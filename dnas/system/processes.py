"""Refusing models that are spread over several processes or devices, because our loops do not average over them."""

from __future__ import annotations

import torch.distributed
from torch import nn

from dnas.system.errors import UserError

# A module of one of these holds the actual module as `.module`.
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def check_one_process(work: str) -> None:
    """Check that this process works alone.

    Args:
        work: name of the work in messages, such as 'a search'.

    Raises:
        UserError: torch.distributed is initialised with several processes.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return
    size = torch.distributed.get_world_size()
    if size > 1:
        raise UserError(
            f"torch.distributed is initialised with {size} processes, but {work} works in one: each process would go "
            "its own way and end with another result. Start one process, without torchrun, or do this before "
            "init_process_group."
        )


def check_not_wrapped(model: nn.Module) -> None:
    """Check that no part of a model is a wrapper that spreads it over devices or processes.

    Raises:
        UserError: a part is; the message names it.
    """
    for name, module in model.named_modules():
        if isinstance(module, _WRAPPERS):
            place = f"the model's part {name!r}" if name else "the model"
            inside = f"model.{name}.module" if name else "model.module"
            raise UserError(
                f"{place} is wrapped in {type(module).__name__}, which dnas cannot search, train, measure or derive: "
                f"give the module inside, {inside}."
            )
