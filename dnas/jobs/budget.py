"""The budget of a run: what its networks may cost, at the sizes at which they are retrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from dnas.core.architecture import Architecture, Kept
from dnas.core.run import Run
from dnas.cost.activations import peak_activation_bytes
from dnas.cost.bounds import Bounds, amount
from dnas.cost.delivered import Delivered, DerivedNetwork
from dnas.cost.drawing import BandDraws
from dnas.data.keyed_random import stream_key
from dnas.data.sample_kind import SampleKind
from dnas.jobs.job import Job
from dnas.jobs.milliseconds import MeasuredNetwork, is_limited, table_of
from dnas.jobs.own_model import searchable_model
from dnas.searching.own_bounds import bounds_on
from dnas.space.delivered import NetworkSizes, SpaceNetwork
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.training.baseline import draw_random
from dnas.training.own_baseline import random_architecture

# Name of the JSON file in a run folder: the sizes that a budget is about, its limits and what was found.
FILE = "budget"


def delivered_network(job: Job, kind: SampleKind) -> Delivered:
    """The networks that `dnas retrain` makes by the job's settings."""
    if job.model is not None:
        return DerivedNetwork(searchable_model(job, kind), kind.zeros(1))
    assert job.image_size is not None
    sizes = NetworkSizes(
        job.retrain.channels, job.retrain.cells, kind.num_outputs, kind.in_channels, job.image_size, stem=job.stem
    )
    return SpaceNetwork(job.space, sizes)


def bounds_of_job(job: Job, run: Run, kind: SampleKind) -> Bounds | None:
    """The bounds of the job's budget; None without one.

    Args:
        job: the job.
        run: its folder, which holds the table for a limit in milliseconds.
        kind: what the samples are like.

    Raises:
        UserError: no network meets it, or the table is damaged or of networks of other sizes.
    """
    budget, rule = job.search.budget, job.search.discretization
    if budget is None:
        return None
    delivered = delivered_network(job, kind)
    if not is_limited(job):
        return bounds_on(delivered, budget, rule)
    table, device = table_of(run, delivered), named_device(job.device)
    bounds = bounds_on(delivered, budget, rule, table.cost)
    return replace(bounds, measured=MeasuredNetwork(delivered, table, device)) if table.is_of_here(device) else bounds


def say_range(job: Job, bounds: Bounds, display: Display) -> None:
    """Tell what a budget is about and what its numbers are."""
    sizes = "" if job.model is not None else f"{job.retrain.channels} channels, {job.retrain.cells} cells, "
    each = f"{job.image_size} pixels; one image" if job.image_size else "one sample"
    display.say(f"Budget of the retrained network ({sizes}{each}):")
    for one in bounds.ranges:
        display.say(f"  {one}")


def activation_bytes(delivered: Delivered, kept: Mapping[str, Kept]) -> int:
    """The peak of the activations of a network for one image on the CPU, in bytes of memory."""
    on_cpu = delivered.on("cpu")
    return peak_activation_bytes(on_cpu.network(kept), on_cpu.inputs)


def keep_budget(run: Run, job: Job, bounds: Bounds, kept: Mapping[str, Kept], delivered: Delivered) -> str:
    """Write the budget and what was found beside the architecture; returns what the network costs in words."""
    costs = bounds.costs(kept)
    limits = [
        {
            "limit": str(one.limit),
            "most": one.most,
            "least_possible": one.least,
            "largest_possible": one.largest,
            "cost": costs[one.limit.unit],
        }
        for one in bounds.ranges
    ]
    sizes: dict[str, Any] = {"channels": job.retrain.channels, "cells": job.retrain.cells}
    memory = activation_bytes(delivered, kept)
    run.save_json(FILE, {**sizes, "image_size": job.image_size, "limits": limits, "activation_bytes": memory})
    return (
        "; ".join(
            f"{amount(costs[one.limit.unit])} {one.limit.unit} of at most {amount(one.most)} "
            f"({costs[one.limit.unit] / one.most:.1%})"
            for one in bounds.ranges
        )
        + f"; {memory / 1e3:.1f} kB of activations at their peak"
    )


def check_budget_of(job: Job, run: Run, architecture: Architecture, kind: SampleKind) -> None:
    """See that an architecture meets the job's budget at the sizes of its retraining.

    Raises:
        UserError: it does not.
    """
    bounds = bounds_of_job(job, run, kind)
    if bounds is None or bounds.fits(architecture.decisions):
        return
    costs = bounds.costs(architecture.decisions)
    over = next(one for one in bounds.ranges if costs[one.limit.unit] > one.most)
    sizes = f"With {job.retrain.channels} channels and {job.retrain.cells} cells"
    raise UserError(
        f"{sizes if job.model is None else 'Now'} the found network has "
        f"{amount(costs[over.limit.unit])} {over.limit.unit}, over its budget of {amount(over.most)} ({over.limit}): "
        "retrain at the sizes of the search or smaller ones, or search with these (--retrain.channels, "
        "--retrain.cells)."
    )


def random_architectures(job: Job, run: Run, kind: SampleKind) -> Callable[[int], Architecture]:
    """Random architectures number 0, 1 ... of the job's seed: of its space, or, with a budget, those that use it.

    See `dnas.cost.drawing` for the distribution.
    """
    return random_within(job, kind, bounds_of_job(job, run, kind))


def random_within(job: Job, kind: SampleKind, bounds: Bounds | None) -> Callable[[int], Architecture]:
    """The same with bounds that are known; None for no budget."""
    if bounds is not None and not all(one.changes_nothing for one in bounds.ranges):
        draws = BandDraws(bounds)
        return lambda index: stamped(job, draws(Random(stream_key(job.seed, index))))
    return draws_of(job, delivered_network(job, kind))


def draws_of(job: Job, delivered: Delivered) -> Callable[[int], Architecture]:
    """Random architectures number 0, 1 ... of the job's seed, whatever they cost."""
    if job.model is None:
        return lambda index: draw_random(job.space, job.seed, index)
    return lambda index: random_architecture(delivered.decisions, job.seed, index)


def stamped(job: Job, kept: Mapping[str, Kept]) -> Architecture:
    """An architecture of the job's space, or of its own model."""
    return job.space.architecture(kept) if job.model is None else Architecture(dict(kept))
