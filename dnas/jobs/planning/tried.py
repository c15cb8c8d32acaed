"""The networks that are tried before a search: of random architectures of a space, or of a module of one's own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.core.derive import derive, find_decisions
from dnas.data.sample_kind import SampleKind
from dnas.jobs.budget import delivered_network, random_within
from dnas.jobs.job import Job
from dnas.jobs.milliseconds import is_limited
from dnas.jobs.networks import found_network
from dnas.jobs.own_model import kind_taken, searchable_model
from dnas.searching.own_bounds import bounds_on
from dnas.training.own_baseline import random_architecture


def kind_tried(job: Job, kind: SampleKind) -> SampleKind:
    """The samples on which networks are tried.

    The channels of images are known only when they are decoded: spaces take any number, and it matters little.
    """
    return kind if job.model is None else kind_taken(job, kind)


def decisions_of(job: Job, kind: SampleKind) -> Mapping[str, Decision]:
    """The decisions of a job's supernet."""
    if job.model is None:
        return job.space.decisions()
    return find_decisions(searchable_model(job, kind))


def any_architecture(job: Job, kind: SampleKind, *, seed: int) -> Architecture:
    """A random architecture of a job's space, or of its module."""
    if job.model is None:
        return job.space.random(torch.Generator().manual_seed(seed))
    return random_architecture(decisions_of(job, kind), seed, 0)


def finalists_tried(job: Job, kind: SampleKind, num: int) -> list[Architecture]:
    """Random architectures such as become finalists: within the budget, unless that is in milliseconds.

    Those are measured after the sizes are chosen.

    Raises:
        UserError: no network meets the budget.
    """
    kind, budget = kind_tried(job, kind), job.search.budget
    bounds = None
    if budget is not None and not is_limited(job):
        bounds = bounds_on(delivered_network(job, kind), budget, job.search.discretization)
    draw = random_within(job, kind, bounds)
    return [draw(index) for index in range(num)]


def network_to_train(job: Job, architecture: Architecture, kind: SampleKind) -> nn.Module:
    """The network of an architecture, as the job's retraining builds it."""
    if job.model is None:
        return found_network(job, kind, architecture)
    return derive(searchable_model(job, kind), architecture)
