"""A profile as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from dnas.jobs.profile.values import Profile, StagedProfile, Timing
from dnas.system.memory import gibibytes
from dnas.system.words import aligned, readable_time


def profile_text(profile: Profile | StagedProfile) -> str:
    """A profile for people: lists and aligned tables, for each stage if there are several."""
    if isinstance(profile, Profile):
        return _text_of_one(profile)
    count = len(profile.stages)
    parts = [
        f"Stage {number} of {count}, {stage.work.epochs} epochs\n{_text_of_one(stage)}"
        for number, stage in enumerate(profile.stages, start=1)
    ]
    total = (
        f"All {count} stages  about {readable_time(profile.search_seconds)}; candidates that are ruled out before a "
        "stage are counted in it, so it will take less"
    )
    return "\n\n".join([*parts, total])


def _text_of_one(profile: Profile) -> str:
    """The profile of one search: a list, then the phases of a step and its most expensive operations as tables."""
    fits = "" if profile.max_batch_size is None else f"; batch {profile.max_batch_size} would fit"
    network = "" if profile.channels is None else f", {profile.channels} channels, {profile.cells} cells"
    size, peak = profile.image_size, profile.peak
    images = "Samples that are no images" if size is None else f"Images {size}x{size}"
    return "\n".join(
        [
            f"{profile.device}, PyTorch {profile.torch_version}",
            f"{images}, batch {profile.batch_size}{network}",
            "",
            f"Search step   {_milliseconds(profile.step)}",
            f"Data          {_milliseconds(profile.data)}, {_batches(profile)}, decoding left out",
            f"Evaluation    {_milliseconds(profile.evaluation)}, one batch of the whole supernet",
            f"Memory        {gibibytes(profile.memory)} at the peak, {gibibytes(profile.available)} available{fits}",
            f"FLOPs         {_billions(profile.flops.total)} in a step, {_billions(profile.flops_per_second)}/s: "
            f"{profile.share_of_peak:.1%} of the peak",
            f"Bytes         {profile.num_bytes / 1e9:.4g} GB read and written by the operators of a step, "
            f"{profile.bytes_per_second / 1e9:.1f} GB/s: {profile.share_of_bandwidth:.1%} of a copy's rate",
            f"Peak          {_billions(peak.flops_per_second)}/s in a product of two {peak.dtype} matrices of "
            f"{peak.size} rows; a copy moves {peak.bytes_per_second / 1e9:.1f} GB/s",
            f"Whole search  about {readable_time(profile.search_seconds)}: {_parts_of_search(profile)}",
            "",
            *aligned(list(_phase_rows(profile)), "<>>>>>>"),
            "",
            *aligned(list(_operation_rows(profile)), "<>>>"),
        ]
    )


def _phase_rows(profile: Profile) -> Iterator[tuple[str, ...]]:
    yield "Milliseconds", "forward", "backward", "optimizer", "other", "total", "GFLOP"
    every = "" if profile.weight_steps == 1 else f", 1 in {profile.weight_steps}"
    parts = (
        (f"Architecture step{every}", profile.architecture_step, profile.flops.architecture),
        ("One-level step" if profile.one_level else "Weight step", profile.weight_step, profile.flops.weight),
        ("Observers", profile.observers, profile.flops.observers),
    )
    for name, phases, flops in parts:
        if phases is not None:
            seconds = (phases.forward, phases.backward, phases.optimizer, phases.other, phases.total)
            yield name, *(f"{1e3 * part:.1f}" for part in seconds), f"{flops / 1e9:.3g}"


def _batches(profile: Profile) -> str:
    return "one batch" if profile.architecture_step is None else "both batches"


def _parts_of_search(profile: Profile) -> str:
    """The parts of the search, each with its number and its time."""
    work, measured = profile.work, profile.measured
    whole = "steps" if profile.one_level else "steps of alphas and weights"
    parts = (
        (work.steps, whole, measured.step),
        (work.weight_steps, "steps of the weights alone", measured.weight_step),
        (work.evaluations, "batches evaluated", measured.evaluation),
        (work.epochs, "ends of epochs with observers", measured.epoch_end),
        (work.selections, "batches evaluated to discretize", measured.selection),
        (work.tuning_steps, "steps of training to discretize", measured.tuning_step),
    )
    return ", ".join(
        f"{count} {what} {readable_time(count * seconds)}" for count, what, seconds in parts if count and seconds
    )


def _operation_rows(profile: Profile) -> Iterator[tuple[str, ...]]:
    yield "Most expensive operations", "calls", "ms", "share"
    for operation in profile.operations:
        yield operation.name, str(operation.count), f"{1e3 * operation.seconds:.1f}", f"{operation.share:.1%}"


def _billions(flops: float) -> str:
    return f"{flops / 1e9:.4g} GFLOP"


def _milliseconds(timing: Timing) -> str:
    return f"{1e3 * timing.median:.1f} ms ({1e3 * timing.low:.1f} to {1e3 * timing.high:.1f})"
