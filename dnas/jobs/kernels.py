"""Whether the supernet of a job is computed by the CPU kernels of `dnas.kernels`, and what the search says of it."""

from __future__ import annotations

import torch
from torch import nn

from dnas.distributed.ranks import ranks
from dnas.jobs.job import Job
from dnas.kernels.compiled import why_not
from dnas.space.kernel_cells import KernelCell, KernelEdgeCell, with_kernels


def computed_by_kernels(model: nn.Module, job: Job) -> nn.Module:
    """`model` with the cells of its kind that have kernels, if the job wants them and they can be used here."""
    return with_kernels(model) if job.kernels == "auto" and why_not() is None else model


def kernels_text(model: nn.Module, job: Job, device: torch.device) -> str | None:
    """One line on whether kernels compute the model; None if the job does not ask for them."""
    if job.kernels == "plain":
        return None
    reason = why_not() or _unfit(model, device)
    if reason is None:
        return (
            "Compiled kernels compute the separable convolutions; the first search on a machine compiles them, which "
            "takes less than a minute."
        )
    return f"No compiled kernels: {reason}. The usual operations compute the same."


def _unfit(model: nn.Module, device: torch.device) -> str | None:
    """Why no cell of the model has kernels, as the end of a sentence."""
    cells = [module for module in model.modules() if isinstance(module, KernelCell | KernelEdgeCell)]
    if device.type != "cpu":
        return "they are for the CPU"
    if ranks().size > 1:
        return "batch norm over several processes has none"
    if not cells:
        return "no cell of this space with these settings has any"
    if not any(weight.ndim == 4 and weight.shape[0] % 4 == 0 for cell in cells for weight in cell.parameters()):
        return "they need a multiple of 4 channels"
    return None
