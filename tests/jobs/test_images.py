"""How the images of a job are divided, and that other images are noticed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dnas import Run, SearchSettings
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
from dnas.jobs.job import Job
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


def test_the_number_of_images_that_were_left_out_stays_in_the_run(tmp_path):
    photos = make_photos(tmp_path / "photos")
    (photos / "cat" / "empty.png").touch()
    job, run = replace(SMALL, data=str(photos), skip_unreadable=True), Run(tmp_path / "run")
    remember_test_part(run, load_data(job))
    listed = run.load_json("test_part")
    assert (listed["num_unreadable"], listed["unreadable"]) == (1, ["cat/empty.png"])
    assert listed["num_images"] + listed["num_rest"] == 48
