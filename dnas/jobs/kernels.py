"""Whether the supernet of a job is computed by the kernels of `dnas.kernels`, and what the search says of it."""

from __future__ import annotations

import torch
from torch import nn

from dnas.distributed.ranks import ranks
from dnas.jobs.job import Job
from dnas.kernels.choice import kernels_on, why_none_on
from dnas.space.kernel_cells import KernelCell, KernelEdgeCell, with_kernels
from dnas.system.devices import named_device


def computed_by_kernels(model: nn.Module, job: Job) -> nn.Module:
    """`model` with the cells of its kind that have kernels, if the job wants them and they can be used here."""
    wanted = job.kernels != "plain" and _why_not(job, named_device(job.device)) is None
    return with_kernels(model) if wanted else model


def kernels_text(model: nn.Module, job: Job, device: torch.device) -> str | None:
    """One line on whether kernels compute the model; None if the job does not ask for them."""
    if job.kernels == "plain":
        return None
    reason = _why_not(job, device) or _unfit(model, device)
    if reason is not None:
        return f"No compiled kernels: {reason}. The usual operations compute the same."
    if device.type == "cuda":
        return "Kernels in Triton compute the separable convolutions; they have not been measured yet."
    return (
        "Compiled kernels compute the separable convolutions; the first search on a machine compiles them, which "
        "takes less than a minute."
    )


def _why_not(job: Job, device: torch.device) -> str | None:
    """Why the device has no kernels for this job, as the end of a sentence."""
    if job.kernels == "auto" and device.type == "cuda":
        return "those of a GPU have not been measured yet, --kernels always takes them"
    return why_none_on(device.type)


def _unfit(model: nn.Module, device: torch.device) -> str | None:
    """Why no cell of the model has kernels, as the end of a sentence."""
    cells = [module for module in model.modules() if isinstance(module, KernelCell | KernelEdgeCell)]
    if ranks().size > 1:
        return "batch norm over several processes has none"
    if not cells:
        return "no cell of this space with these settings has any"
    kernels = kernels_on(device)
    channels = {weight.shape[0] for cell in cells for weight in cell.parameters() if weight.ndim == 4}
    if kernels is not None and not any(kernels.take(count) for count in channels):
        return "they need a multiple of 4 channels" if device.type == "cpu" else "they take at most 128 channels"
    return None
