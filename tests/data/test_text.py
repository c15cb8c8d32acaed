"""Texts: tokens, parts, and batches that go on where the last one ended."""

from itertools import pairwise

import pytest
import torch

from dnas.data.text import Corpus, TextBatches, Vocabulary, batchify, load_text, tokenize


def write(folder, files: dict[str, str]):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


PARTS = {"train": "the cat sat\nthe dog sat\n", "valid": "the cat ran\n", "test": "a dog sat\n"}


def test_words_end_lines_with_eos_and_characters_are_all_kept():
    assert tokenize("the cat\n\nsat", "word") == ["the", "cat", "<eos>", "<eos>", "sat", "<eos>"]
    assert tokenize("a b\n", "char") == ["a", " ", "b", "\n"]


@pytest.mark.parametrize("names", ["{}.txt", "ptb.{}.txt", "wiki.{}.tokens", "wikitext2_{}.txt"])
def test_folders_of_common_corpora_are_read_in_their_parts(tmp_path, names):
    corpus = load_text(write(tmp_path / "data", {names.format(part): text for part, text in PARTS.items()}))
    assert corpus.vocabulary.tokens == ("<unk>", "<eos>", "the", "cat", "sat", "dog")
    assert corpus.train.tolist() == [2, 3, 4, 1, 2, 5, 4, 1]
    assert corpus.valid.tolist() == [2, 3, 0, 1]  # 'ran' is not in the training part
    assert corpus.test.tolist() == [0, 5, 4, 1]
    assert corpus.unknown_share("valid") == 0.25


def test_penn_treebank_has_files_of_both_levels(tmp_path):
    files = {f"ptb.{part}.txt": text for part, text in PARTS.items()}
    files |= {f"ptb.char.{part}.txt": "_".join(text) for part, text in PARTS.items()}
    folder = write(tmp_path / "data", files)
    assert "cat" in load_text(folder, level="word").vocabulary.tokens
    assert "_" in load_text(folder, level="char").vocabulary.tokens


def test_one_text_is_cut_in_order(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("".join(chr(ord("a") + i % 26) for i in range(200)))
    corpus = load_text(path, level="char")
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [180, 10, 10]
    whole = torch.cat([corpus.train, corpus.valid, corpus.test]).tolist()
    assert corpus.vocabulary.decode(whole, level="char") == path.read_text()


def test_texts_without_parts_are_joined_by_name_in_a_folder_and_in_the_given_order(tmp_path):
    folder = write(tmp_path / "books", {"b.txt": "b" * 100, "a.txt": "a" * 100, "notes.md": "no"})
    assert load_text(folder, level="char").vocabulary.tokens == ("<unk>", "a", "b")
    given = load_text([folder / "b.txt", folder / "a.txt"], level="char")
    assert given.vocabulary.tokens == ("<unk>", "b", "a")


def test_rare_tokens_are_unknown(tmp_path):
    corpus = load_text(write(tmp_path / "data", {f"{part}.txt": text for part, text in PARTS.items()}), min_count=2)
    assert corpus.vocabulary.tokens == ("<unk>", "<eos>", "the", "sat")
    assert corpus.unknown_share("train") == 0.25


def test_decoding_words_gives_lines_again():
    vocabulary = Vocabulary.of(tokenize("the cat\nsat\n", "word"), level="word")
    numbers = vocabulary.encode(tokenize("the cat\nsat here\n", "word")).tolist()
    assert vocabulary.decode(numbers, level="word").rstrip() == "the cat\nsat <unk>"


def test_a_byte_order_mark_is_no_character(tmp_path):
    path = tmp_path / "bom.txt"
    path.write_text("abc" * 50, encoding="utf-8-sig")
    assert load_text(path, level="char").vocabulary.tokens == ("<unk>", "a", "b", "c")


def test_entry_l_b_of_a_batchified_text_is_token_b_L_plus_l():
    rows, length = 4, 7
    table = batchify(torch.arange(30), rows)  # 30 = 4 * 7 + 2, of which 2 are left out
    assert table.shape == (length, rows)
    assert all(table[l, b] == b * length + l for l in range(length) for b in range(rows))


def batches(count: int = 103, **settings) -> TextBatches:
    return TextBatches(torch.arange(count), **{"batch_size": 2, "bptt": 8, **settings})


def test_targets_are_the_next_tokens_and_batches_go_on_where_the_last_one_ended():
    found = list(batches().epoch(0))
    assert len(found) == len(batches()) == 6  # 51 tokens in a row, 50 targets
    for before, after in pairwise(found):
        assert torch.equal(after.inputs[0], before.targets[-1])
    assert all(batch.inputs.shape == (8, 2) and torch.equal(batch.targets, batch.inputs + 1) for batch in found)
    assert all(batch.carry is None for batch in found)


def test_whole_batches_predict_every_token_but_the_first_of_each_row():
    predicted = torch.cat([batch.targets for batch in batches(whole=True).epoch(0)])
    assert torch.equal(predicted, batchify(torch.arange(103), 2)[1:])
    assert len(list(batches(whole=True).epoch(0))) == len(batches(whole=True)) == 7


@pytest.mark.parametrize("count", [19, 20, 25, 35, 103, 117])
def test_epochs_start_at_various_tokens_and_have_the_same_number_of_full_batches(count):
    data = batches(count, seed=3)
    for epoch in range(20):
        shapes = [tuple(batch.inputs.shape) for batch in data.epoch(epoch)]
        assert shapes == [(8, 2)] * len(data)
    starts = {int(next(data.epoch(epoch)).inputs[0, 0]) for epoch in range(40)}
    assert starts == set(range(min(8, count // 2 - 8)))


def test_an_epoch_can_be_entered_at_any_batch():
    data = batches(seed=1)
    for start in range(len(data) + 1):
        rest = [batch.inputs for batch in data.epoch(2)][start:]
        entered = [batch.inputs for batch in data.epoch(2, start)]
        assert len(rest) == len(entered) and all(map(torch.equal, rest, entered))
    with pytest.raises(ValueError, match="cannot start at batch"):
        next(data.epoch(0, len(data) + 1))


def test_bad_input_is_answered(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file or folder"):
        load_text(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match="level must be"):
        load_text(tmp_path, level="byte")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="holds no text files"):
        load_text(write(tmp_path / "none", {"a.csv": "1"}))
    with pytest.raises(ValueError, match=r"for test it has none"):
        load_text(write(tmp_path / "some", {"train.txt": "a", "valid.txt": "b"}))
    with pytest.raises(ValueError, match=r"for train it has a\.train\.txt, b\.train\.txt"):
        load_text(write(tmp_path / "two", {f"{c}.{part}.txt": "a b" for c in "ab" for part in PARTS}))
    with pytest.raises(ValueError, match="is empty"):
        load_text(write(tmp_path / "empty", {"a.txt": " \n"}))
    with pytest.raises(ValueError, match=r"The valid part of .* has 0 tokens"):
        load_text(write(tmp_path / "short", {"a.txt": "one"}))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ValueError, match=r"is not UTF-8 text .* at byte 0"):
        load_text(tmp_path / "binary.txt")
    with pytest.raises(ValueError, match="is a folder; expected one folder alone"):
        load_text([tmp_path / "some", tmp_path / "binary.txt"])
    with pytest.raises(ValueError, match="min_count"):
        load_text(tmp_path, min_count=0)
    with pytest.raises(ValueError, match="must hold '<unk>'"):
        Vocabulary(("a",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 60}, "pieces of 2 or more tokens"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"bptt": 0}, "bptt must be 1"),
        ({"bptt": 51}, "lower batch_size or bptt"),
        ({"whole": True, "seed": 0}, "leave out the seed"),
    ],
)
def test_sizes_that_leave_no_batch_are_answered(settings, message):
    with pytest.raises(ValueError, match=message):
        batches(**settings)


def test_a_corpus_is_a_value_of_its_parts():
    part = torch.tensor([1, 0])
    corpus = Corpus(part, part, part, Vocabulary(("<unk>", "a")), "char")
    assert corpus.unknown_share("test") == 0.5
