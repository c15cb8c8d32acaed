"""The networks that are tried before a search: of random architectures of a space, or of a module of one's own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.core.derive import derive, find_decisions
from dnas.jobs.job import Job
from dnas.jobs.networks import network_builder
from dnas.jobs.own_model import channels_taken, searchable_model
from dnas.training.own_baseline import random_architecture

_IN_CHANNELS = 3  # the real number is known only when the images are decoded; it matters little


def channels_tried(job: Job, *, num_classes: int) -> int:
    """The channels of the images on which networks are tried."""
    return _IN_CHANNELS if job.model is None else channels_taken(job, num_classes=num_classes)


def decisions_of(job: Job, *, num_classes: int) -> Mapping[str, Decision]:
    """The decisions of a job's supernet."""
    if job.model is None:
        return job.space.decisions()
    return find_decisions(searchable_model(job, num_classes=num_classes, in_channels=_IN_CHANNELS))


def any_architecture(job: Job, *, num_classes: int, seed: int) -> Architecture:
    """A random architecture of a job's space, or of its module."""
    if job.model is None:
        return job.space.random(torch.Generator().manual_seed(seed))
    return random_architecture(decisions_of(job, num_classes=num_classes), seed, 0)


def network_to_train(job: Job, architecture: Architecture, *, num_classes: int, in_channels: int) -> nn.Module:
    """The network of an architecture, as the job's retraining builds it."""
    if job.model is None:
        return network_builder(job, num_classes, in_channels).network(architecture)
    return derive(searchable_model(job, num_classes=num_classes, in_channels=in_channels), architecture)
