"""Whether the kernels of `dnas.kernels` compute the networks of a job, and what its commands say of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dnas.core.cell import Cell
from dnas.distributed.ranks import ranks
from dnas.jobs.job import Job
from dnas.kernels.choice import kernels_on, why_none_on
from dnas.kernels.compiled import cache_folder
from dnas.method.hypergradient import FiniteDifference, FirstOrder, Hypergradient, OneStep
from dnas.space.edge_cell import EdgeCell
from dnas.space.kernel_cells import KernelCell, KernelEdgeCell, with_kernels
from dnas.space.kernel_network import kernel_cells, train_by_kernels
from dnas.space.kernel_states import MOST_CHANNELS, KernelStackedCell, KernelStates
from dnas.space.ops import SepConv, keeps_running_statistics
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
    if any(isinstance(module, SepConv) and module.depthwise1.kernel_size[0] > 5 for module in model.modules()):
        return "Compiled kernels compute the separable convolutions of 3x3 and 5x5; the usual operations those of 7x7."
    if device.type == "cuda":
        return "Kernels in Triton compute the separable convolutions; they have not been measured yet."
    kind = "dense" if _cells(model, KernelStackedCell) else "separable"
    if cache_folder() is None:
        when = "this search compiles them, since they cannot be kept in ~/.cache/dnas (or below XDG_CACHE_HOME)"
    else:
        when = "the first search on a machine compiles them"
    return f"Compiled kernels compute the {kind} convolutions; {when}, which takes less than a minute."


def trained_by_kernels(network: nn.Module, job: Job) -> nn.Module:
    """A found network whose cells are trained by kernels, if the job wants them and they can be used here."""
    wanted = job.kernels != "plain" and _why_not_trained(named_device(job.device)) is None
    return train_by_kernels(network) if wanted else network


def training_kernels_text(network: nn.Module, job: Job, device: torch.device) -> str | None:
    """One line on whether kernels train the job's network; None if the job does not ask for them."""
    if job.kernels == "plain":
        return None
    cells, has_none = kernel_cells(network), "no cell of this network has any"
    reason = _why_not_trained(device) or _unfit_here(cells, device, has_none)
    if reason is None and job.retrain.precision == "bf16":
        reason = "autocast (--precision bf16) has none"
    if reason is not None:
        return f"No compiled kernels: {reason}. The usual operations compute the same."
    return (
        "Compiled kernels train the separable convolutions; the first training on a machine compiles them, which takes "
        "less than a minute."
    )


def _why_not_trained(device: torch.device) -> str | None:
    """Why the device has no kernels that train found networks, as the end of a sentence."""
    return why_none_on("cpu") if device.type == "cpu" else "those that train a network are for the CPU"


def _why_not(job: Job, device: torch.device) -> str | None:
    """Why the device has no kernels for the supernet of this job, as the end of a sentence."""
    if job.model is not None:
        return "a model of your own has none"
    if job.search.precision == "bf16":
        return "autocast (--search.precision bf16) has none"
    if _takes_second_derivatives(job.search.hypergradient):
        return f"exact second derivatives ({type(job.search.hypergradient).__name__}) have none"
    if job.kernels == "auto" and device.type == "cuda":
        return "those of a GPU have not been measured yet, --kernels always takes them"
    return why_none_on(device.type)


def _takes_second_derivatives(hypergradient: Hypergradient) -> bool:
    """Whether gradients of gradients are taken, not differences of gradients."""
    by_difference = isinstance(hypergradient, OneStep) and isinstance(hypergradient.mixed, FiniteDifference)
    return not isinstance(hypergradient, FirstOrder) and not by_difference


def _unfit(model: nn.Module, device: torch.device) -> str | None:
    """Why no cell of the supernet has kernels, as the end of a sentence."""
    dense = _cells(model, KernelStackedCell)
    if dense and ranks().size == 1:
        return _unfit_dense(dense, device)
    return _unfit_here(_cells(model, KernelCell, KernelEdgeCell), device, _why_none(model))


def _why_none(model: nn.Module) -> str:
    """Why a supernet has no cells with kernels."""
    cells = _cells(model, Cell)
    if any(keeps_running_statistics(cell) for cell in cells):
        return "batch norm with running statistics in the supernet has none"
    if any(isinstance(cell, EdgeCell) and (cell.auxiliary or cell.drop_path) for cell in cells):
        return "cells with drop-path or an auxiliary skip have none"
    return "no cell of this space with these settings has any"


def _cells(model: nn.Module, *kinds: type[nn.Module]) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, kinds)]


def _unfit_dense(cells: Sequence[nn.Module], device: torch.device) -> str | None:
    """Why the kernels of dense convolutions cannot be used, or do not pay."""
    if device.type != "cpu":
        return "those of dense convolutions are for the CPU"
    channels = {weight.shape[0] for cell in cells for weight in cell.parameters() if weight.ndim == 4}
    if not any(KernelStates.pays(count) for count in channels):
        return f"those of dense convolutions are for a multiple of 4 channels, up to {MOST_CHANNELS}"
    return None


def _unfit_here(cells: Sequence[nn.Module], device: torch.device, without_cells: str) -> str | None:
    """Why the kernels of these cells cannot be used on the device."""
    if ranks().size > 1:
        return "batch norm over several processes has none"
    if not cells:
        return without_cells
    kernels = kernels_on(device)
    channels = {weight.shape[0] for cell in cells for weight in cell.parameters() if weight.ndim == 4}
    if kernels is not None and not any(kernels.take(count) for count in channels):
        return f"they need {kernels.need}"
    return None
