"""What `dnas language` is asked for: rows that a text is long enough for, seeds, and the text that a run is of."""

from dataclasses import replace

import pytest
import torch

from dnas.core.run import Run
from dnas.data.text import Corpus, Vocabulary
from dnas.language.job import LanguageJob, fitted, remember_text, seeded_job, text_data
from dnas.language.settings import LanguageSearch, LanguageTraining

VOCABULARY = Vocabulary(("<unk>", "a", "b"))


def corpus(train: int = 900, valid: int = 90, test: int = 30) -> Corpus:
    train_N, valid_N, test_N = (torch.arange(count) % 3 for count in (train, valid, test))
    return Corpus(train_N, valid_N, test_N, VOCABULARY, "char")


def job(**rows: int) -> LanguageJob:
    search = LanguageSearch(batch_size=rows.get("batch_size", 2), validation_batch_size=rows.get("valid", 2), bptt=5)
    training = LanguageTraining(
        batch_size=rows.get("train", 2), validation_batch_size=2, test_batch_size=rows.get("test", 1), bptt=10
    )
    return LanguageJob("text", search=search, train=training)


def test_rows_that_the_text_is_long_enough_for_stay():
    # In a row of an epoch there is room for two batches and a start that moves by one.
    asked = job(batch_size=90 // 15, valid=90 // 5, train=900 // 30, test=30 // 10)
    assert fitted(asked, corpus()) == (asked, [])


@pytest.mark.parametrize(
    ("name", "asked", "fits"),
    [
        ("batch_size", job(batch_size=7), job(batch_size=6)),
        ("validation_batch_size", job(valid=19), job(valid=18)),
        ("train.batch_size", job(train=31), job(train=30)),
        ("train.test_batch_size", job(test=4), job(test=3)),
    ],
)
def test_more_rows_are_lowered_and_told(name: str, asked: LanguageJob, fits: LanguageJob):
    lowered, notes = fitted(asked, corpus())
    assert lowered == fits
    (note,) = notes
    assert note.startswith(f"{name} ") and "lowered to" in note


def test_the_shorter_of_two_parts_counts_for_the_search():
    lowered, _ = fitted(job(batch_size=50), corpus(train=60, valid=900))
    assert lowered.search.batch_size == 60 // 15


def test_too_short_for_the_states_to_be_normalised():
    with pytest.raises(ValueError, match=r"batch_size would have to be 2 or more, each row of 15 tokens, .* has 29\."):
        fitted(job(), corpus(valid=29))
    assert fitted(job(), corpus(valid=30))[0].search.batch_size == 2


def test_the_seed_is_added_to_both():
    one = LanguageJob("text", seed=3, train=LanguageTraining(seed=4))
    one = replace(one, search=replace(one.search, search=replace(one.search.search, seed=5)))
    seeded = seeded_job(one)
    assert (seeded.search.search.seed, seeded.train.seed) == (8, 7)


def test_what_is_remembered_of_a_text_changes_with_every_token_of_it(tmp_path):
    data = text_data(corpus())
    assert data["tokens"] == {"train": 900, "valid": 90, "test": 30}
    assert data["unknown"]["train"] == pytest.approx(1 / 3)
    for part in ("train", "valid", "test"):
        changed = corpus()
        getattr(changed, part)[7] = 2
        assert text_data(changed)["digest"] != data["digest"]
    other = replace(corpus(), vocabulary=Vocabulary(("<unk>", "a", "c")))
    assert text_data(other)["digest"] != data["digest"]
    remember_text(Run(tmp_path), corpus())
    remember_text(Run(tmp_path), corpus())
    with pytest.raises(ValueError, match="is of another text than there is now"):
        remember_text(Run(tmp_path), other)
    (tmp_path / "text.json").write_text("[]")
    with pytest.raises(ValueError, match="is of another text than there is now"):
        remember_text(Run(tmp_path), corpus())
