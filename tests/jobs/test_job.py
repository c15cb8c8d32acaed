"""What a user asks for: its settings, how they are read back from a run, and how its data are divided."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dnas import (
    AlphaAdam,
    Argmax,
    BetaDecay,
    ConjugateGradient,
    Constant,
    Cosine,
    DartsSpace,
    ExactProduct,
    ExpectedCost,
    FiniteDifference,
    FirstOrder,
    GumbelSoftmax,
    LimitedSkips,
    Linear,
    MobileSpace,
    NasBench201Space,
    Neumann,
    OneStep,
    Run,
    SearchSettings,
    Sigmoid,
    Threshold,
    Unrolled,
    WeightSGD,
)
from dnas.cli.run_settings import job_of
from dnas.data import ImageSet
from dnas.jobs.images import (
    JobData,
    load_data,
    remember_test_part,
    retrain_streams,
    search_streams,
    some_of,
    test_batches,
)
from dnas.jobs.job import Job, seeded_retrain, seeded_search
from dnas.jobs.networks import build_supernet_model
from dnas.space.fused import FusedCell
from dnas.system.plain_data import to_plain
from dnas.training.settings import RetrainSettings
from tests.support.cli import make_photos

CPU = torch.device("cpu")
# The function is no test, whatever its name says.
test_batches.__test__ = False  # type: ignore[attr-defined]
SMALL = Job(image_size=8, batch_size=8, channels=2, cells=3, retrain=RetrainSettings(batch_size=8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def job(photos: Path) -> Job:
    return replace(SMALL, data=str(photos))


@pytest.fixture(scope="module")
def data(job: Job) -> JobData:
    return load_data(job)


# Settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 0},
        {"channels": -1},
        {"cells": 0},
        {"batch_size": 0},
        {"test_fraction": 0.0},
        {"test_fraction": 1.0},
        {"test_fraction": float("nan")},
        {"validation_fraction": -0.1},
        {"validation_fraction": 1.0},
        {"validation_fraction": float("nan")},
        {"seed": 2**63},
        {"time": "soon"},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, Any]):
    (name,) = wrong
    with pytest.raises(ValueError, match="time" if name == "time" else name):
        Job(**wrong)


def test_what_is_left_to_choose_is_told():
    assert Job().missing_sizes == ("image_size", "channels", "cells", "batch_size")
    assert Job(channels=3, image_size=8).missing_sizes == ("cells", "batch_size")
    assert SMALL.missing_sizes == ()


def test_one_seed_moves_all_others():
    job = Job(seed=5, search=SearchSettings(seed=2), retrain=RetrainSettings(seed=3))
    assert (seeded_search(job).seed, seeded_retrain(job).seed) == (7, 8)
    assert replace(seeded_search(job), seed=2) == job.search


PARTS: dict[str, dict[str, Any]] = {
    "Gumbel": {"relaxation": GumbelSoftmax(temperature=Constant(2.0), hard=False)},
    "sigmoid": {"relaxation": Sigmoid(), "discretization": Threshold(0.3)},
    "first order": {"hypergradient": FirstOrder()},
    "one step, finite difference": {"hypergradient": OneStep(FiniteDifference(0.02))},
    "one step, exact": {"hypergradient": OneStep(ExactProduct())},
    "unrolled": {"hypergradient": Unrolled(3)},
    "Neumann": {"hypergradient": Neumann(terms=3, rate=0.1)},
    "conjugate gradient": {"hypergradient": ConjugateGradient()},
    "penalties": {"penalties": (BetaDecay(), ExpectedCost({"normal": [[1.0, 2.0], [0.5, 0.0]]}, target=3.0))},
    "schedules": {"weights": WeightSGD(lr=Linear(0.1, 0.0), nesterov=True, clip=None)},
    "alphas": {"alphas": AlphaAdam(lr=1e-5, betas=(0.1, 0.2), weight_decay=0.0), "discretization": Argmax()},
    "lengths": {"epochs": 3, "warmup_epochs": 2, "seed": 9, "log_every": 1, "checkpoint_minutes": 0.5},
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize(
    "space", [DartsSpace(nodes=2, edge_weights=True), NasBench201Space()], ids=["darts", "nasbench"]
)
def test_a_runs_config_gives_back_an_equal_job(tmp_path, parts: dict[str, Any], space: Any):
    retrain = RetrainSettings(epochs=7, weights=WeightSGD(lr=Cosine(0.3, 0.1)), auxiliary=False, cutout=0)
    search = SearchSettings(**parts)
    job = replace(SMALL, data="a folder/with: signs", space=space, search=search, retrain=retrain, time="90s", seed=-4)
    run = Run(tmp_path)
    run.write_config({"job": to_plain(job)})
    assert job_of(run, trust=False) == job


# Data


def images_of(images: ImageSet) -> list[str]:
    return list(images.paths)


def test_the_test_part_is_set_aside_stratified_and_the_rest_is_all_else(data: JobData):
    assert len(data.test) + len(data.rest) == 48
    assert not set(images_of(data.test)) & set(images_of(data.rest))
    counts = data.test.labels.bincount().tolist()
    assert max(counts) - min(counts) <= 1
    assert data.rest.size == (8, 8)


def test_a_search_of_one_level_trains_on_all_of_the_rest(job: Job, data: JobData):
    one_level = replace(job, search=SearchSettings(one_level=True))
    train, *_ = search_streams(one_level, data, CPU)
    assert sum(len(batch.targets) for batch in train.epoch(0)) == len(data.rest)


def test_the_supernet_may_be_measured_on_some_images_with_every_class_among_them(job: Job, data: JobData):
    *_, validation = search_streams(replace(job, supernet_images=12), data, CPU)
    targets = torch.cat([batch.targets for batch in validation.epoch(0)])
    assert len(targets) == 12
    assert set(targets.tolist()) == set(data.rest.labels.tolist())
    assert some_of(data.rest, 10**6, seed=0) is data.rest


def test_the_search_sees_the_rest_alone_and_its_halves_share_nothing(job: Job, data: JobData):
    train, val, validation = search_streams(job, data, CPU)
    weights_half, alphas_half = set(images_of(train.images)), set(images_of(val.images))
    assert not weights_half & alphas_half
    assert weights_half | alphas_half == set(images_of(data.rest))
    assert set(images_of(validation.images)) == alphas_half
    assert validation.augmentation is None
    assert train.augmentation is not None


def test_retraining_trains_on_all_of_the_rest_that_is_not_held_out(job: Job, data: JobData):
    train, held_out = retrain_streams(job, data, CPU)
    assert held_out is not None
    kept, held = set(images_of(train.images)), set(images_of(held_out.images))
    assert not kept & held
    assert kept | held == set(images_of(data.rest))
    assert len(held) == round(0.1 * len(data.rest))
    everything, nothing = retrain_streams(replace(job, validation_fraction=0.0), data, CPU)
    assert nothing is None
    assert set(images_of(everything.images)) == set(images_of(data.rest))


def test_the_test_part_is_measured_without_augmentation(job: Job, data: JobData):
    batches = test_batches(job, data, 5, CPU)
    assert batches.augmentation is None
    assert sum(len(batch.targets) for batch in batches.epoch(0)) == len(data.test)


def test_pixels_are_normalised_by_the_rest_alone(data: JobData):
    pixels = data.rest.images.double() / 255
    torch.testing.assert_close(
        torch.tensor(data.normalization.mean, dtype=torch.float64), pixels.mean((0, 2, 3)), rtol=1e-5, atol=1e-6
    )


def test_the_seed_alone_decides_how_data_are_divided_and_ordered(job: Job, data: JobData):
    again, other = load_data(job), load_data(replace(job, seed=1))
    assert images_of(again.test) == images_of(data.test)
    assert images_of(other.test) != images_of(data.test)
    first, same = (next(search_streams(job, part, CPU)[0].epoch(0)).inputs for part in (data, again))
    assert torch.equal(first, same)


def test_no_stream_of_a_job_has_the_seed_of_another(job: Job, data: JobData):
    streams = [*search_streams(job, data, CPU), *retrain_streams(job, data, CPU), test_batches(job, data, 8, CPU)]
    seeds = [stream.seed for stream in streams if stream is not None]
    assert len(set(seeds)) == len(seeds) == 6


def test_a_last_batch_of_one_image_is_merged_since_it_has_no_batch_statistics(job: Job, data: JobData):
    half = len(search_streams(job, data, CPU)[0].images)
    train, _, _ = search_streams(replace(job, batch_size=half - 1), data, CPU)
    assert [len(batch.targets) for batch in train.epoch(0)] == [half]
    train, _, _ = search_streams(replace(job, batch_size=half - 2), data, CPU)
    assert [len(batch.targets) for batch in train.epoch(0)] == [half - 2, 2]


# Data that change


def test_the_test_part_is_listed_and_the_same_data_pass(tmp_path, data: JobData):
    run = Run(tmp_path)
    remember_test_part(run, data)
    assert run.load_json("test_part")["images"] == images_of(data.test)
    remember_test_part(run, data)


def renamed(images: ImageSet) -> ImageSet:
    return replace(images, paths=("other.png", *images.paths[1:]))


def relabelled(images: ImageSet) -> ImageSet:
    return replace(images, labels=torch.cat([1 - images.labels[:1], images.labels[1:]]))


def with_other_classes(images: ImageSet) -> ImageSet:
    return replace(images, class_names=("a", "b"))


def shortened(images: ImageSet) -> ImageSet:
    return images.subset(torch.arange(1, len(images)), name=images.name)


@pytest.mark.parametrize("change", [renamed, relabelled, with_other_classes, shortened])
@pytest.mark.parametrize("part", ["test", "rest"])
def test_any_change_of_names_labels_or_classes_is_noticed(tmp_path, data: JobData, part: str, change: Any):
    run = Run(tmp_path)
    remember_test_part(run, data)
    changed = replace(data, **{part: change(getattr(data, part))})
    with pytest.raises(ValueError, match=r"The data have changed since .* test_part\.json"):
        remember_test_part(run, changed)


# The model


def test_initial_weights_are_a_function_of_the_seed_and_nothing_else_changes():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    models = [build_supernet_model(replace(SMALL, seed=seed), num_classes=2, in_channels=3) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (torch.nn.utils.parameters_to_vector(model.parameters()) for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_fused_cells_have_the_weights_of_the_others(job: Job):
    sizes = replace(job, space=DartsSpace(nodes=1), channels=2, cells=3)
    plain, fused = (
        build_supernet_model(replace(sizes, fused=fused), num_classes=2, in_channels=3) for fused in (False, True)
    )
    assert sum(isinstance(module, FusedCell) for module in fused.modules()) == 3
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), fused.state_dict().values(), strict=True))


def test_fused_is_refused_where_it_has_no_effect(job: Job):
    with pytest.raises(ValueError, match="fused has no effect: no cell of MobileSpace"):
        build_supernet_model(
            replace(job, space=MobileSpace(), channels=4, cells=3, fused=True), num_classes=2, in_channels=3
        )


def test_skips_that_are_limited_in_a_cell_that_the_space_has_not_are_refused_at_once():
    settings = SearchSettings(discretization=LimitedSkips())
    assert Job(search=settings).search == settings
    with pytest.raises(ValueError, match=r"in cell 'normal', which this model does not have.*{'cell': .*Set decisions"):
        Job(space=NasBench201Space(), search=settings)
    fitting = SearchSettings(discretization=LimitedSkips(decisions=("cell",)))
    assert Job(space=NasBench201Space(), search=fitting).search == fitting
