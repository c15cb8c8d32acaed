"""An architecture is recognised by the content of what holds it."""

import pytest

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.core.run import Run
from dnas.formats import (
    architecture_text,
    published,
    read_architecture,
    read_genotype,
    read_nasbench201,
    write_genotype,
    write_mmrazor,
    write_nasbench201,
)

DARTS_V2 = published("DARTS_V2")
NB201 = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"


def test_a_run_folder_is_read(tmp_path):
    Run(tmp_path).save_architecture(DARTS_V2)
    assert read_architecture(tmp_path) == DARTS_V2
    assert read_architecture(str(tmp_path)) == DARTS_V2


def test_a_run_that_has_found_nothing_yet_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no architecture\.json"):
        read_architecture(tmp_path)


@pytest.mark.parametrize("write", [Architecture.to_json, write_genotype, write_mmrazor])
def test_a_file_is_recognised_by_its_content_not_by_its_name(tmp_path, write):
    path = tmp_path / "something.dat"
    path.write_text(write(DARTS_V2) + "\n")
    assert read_architecture(path) == DARTS_V2
    assert read_architecture(write(DARTS_V2)) == DARTS_V2


def test_a_nasbench201_string_is_recognised_as_file_and_text(tmp_path):
    path = tmp_path / "cell.txt"
    path.write_text(f"\n{NB201}\n")
    assert read_architecture(path) == read_architecture(NB201) == read_nasbench201(NB201)


def test_a_published_name_is_read():
    assert read_architecture("DARTS_V2") == DARTS_V2


def test_one_of_several_genotypes_is_chosen_by_name(tmp_path):
    path = tmp_path / "genotypes.py"
    path.write_text(f"A = {write_genotype(published('DARTS_V1'))}\nB = {write_genotype(DARTS_V2)}\n")
    assert read_architecture(path, genotype_name="B") == DARTS_V2
    with pytest.raises(ValueError, match="holds 2 genotypes: A, B"):
        read_architecture(path)
    with pytest.raises(ValueError, match="none is named 'B'"):
        read_architecture(NB201, genotype_name="B")


def test_another_space_than_expected_is_refused():
    assert read_architecture(NB201, "nasbench201").space == "nasbench201"
    with pytest.raises(ValueError, match="architecture of space 'nasbench201'; expected 'darts'"):
        read_architecture(NB201, "darts")


def test_what_is_neither_path_nor_text_is_answered_with_what_was_expected(tmp_path):
    for wrong in (tmp_path / "nothing.json", "runs/nothing", "DARTS_V9"):
        with pytest.raises(FileNotFoundError, match=r"expected a run folder, an architecture\.json.*DARTS_V2"):
            read_architecture(wrong)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no architecture; expected a run folder"),
        (b"hello", "holds no architecture; expected a run folder"),
        (b'{"accuracy": 1}', r"it is JSON, but without \"format\""),
        (b"[1]", "it is JSON of another kind"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b'{"format": "dnas-architecture"}', "format_version None"),
        (b"Genotype(normal=[])", "has the fields"),
        (b"|none~0|", "has 1 nodes, expected 3"),
        (b"normal_n2: {chosen: []}", "normal_n2 must be"),
    ],
)
def test_a_file_without_a_valid_architecture_is_named_with_the_reason(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        read_architecture(path)


def test_a_text_of_any_length_is_no_path():
    with pytest.raises(ValueError, match="the text holds no architecture"):
        read_architecture("{" * 10_000)


def test_the_text_for_people_is_the_form_that_can_say_it():
    assert architecture_text(DARTS_V2) == write_genotype(DARTS_V2)
    assert architecture_text(read_nasbench201(NB201)) == write_nasbench201(read_nasbench201(NB201)) == NB201
    assert read_genotype(architecture_text(DARTS_V2)) == DARTS_V2
    one_edge = CellArchitecture((KeptEdge(0, 2, "skip_connect"),), (2,))
    for other in (Architecture({"act": "relu"}), Architecture({"normal": one_edge, "reduce": one_edge}, "darts")):
        assert architecture_text(other) == other.to_json()
