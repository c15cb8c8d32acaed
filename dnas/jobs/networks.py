"""The networks of a job: its supernet, and the builder of the networks that it retrains."""

from __future__ import annotations

from torch import nn

from dnas.core.architecture import Architecture
from dnas.data.sample_kind import SampleKind
from dnas.jobs.job import Job
from dnas.jobs.kernels import computed_by_kernels, trained_by_kernels
from dnas.shipping.spec import SpaceBuilder
from dnas.space.fused import FusedCell, FusedEdgeCell, fuse
from dnas.system.errors import UserError
from dnas.system.random_state import seeded


def build_supernet_model(job: Job, kind: SampleKind) -> nn.Module:
    """The searchable model of a job that has all sizes; the job's seed determines its initial weights.

    Raises:
        UserError: the job sets `fused`, but none of the cells has a fused form.
    """
    assert job.channels is not None and job.cells is not None
    with seeded(job.seed):
        model = job.space.model(
            channels=job.channels,
            cells=job.cells,
            num_classes=kind.num_outputs,
            in_channels=kind.in_channels,
            stem=job.stem,
        )
    if not job.fused:
        return computed_by_kernels(model, job)
    model = fuse(model)
    if not any(isinstance(module, FusedCell | FusedEdgeCell) for module in model.modules()):
        raise UserError(
            f"fused has no effect: no cell of {type(job.space).__name__} with these settings has a fused form. "
            "Leave it out."
        )
    return model


def network_builder(job: Job, kind: SampleKind) -> SpaceBuilder:
    """What builds the networks that the job retrains, by its retraining settings."""
    return SpaceBuilder(
        channels=job.retrain.channels,
        cells=job.retrain.cells,
        num_classes=kind.num_outputs,
        in_channels=kind.in_channels,
        stem=job.stem,
        auxiliary=job.retrain.auxiliary,
    )


def found_network(job: Job, kind: SampleKind, architecture: Architecture) -> nn.Module:
    """The network that `network_builder` builds, ready to be trained as the job asks."""
    return trained_by_kernels(network_builder(job, kind).network(architecture), job)
