"""Genotype texts are read without being evaluated, and written back as they were."""

import doctest
import re

import pytest
import torch

import dnas.formats.genotype
from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.formats import PUBLISHED, read_genotype, write_genotype, write_mmrazor
from dnas.space import DartsSpace, space_of
from dnas.space.recurrent import RecurrentSpace

NORMAL = "[('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 0)]"
REDUCE = "[('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 2), ('none', 1)]"
TEXT = f"Genotype(normal={NORMAL}, normal_concat=[2, 3], reduce={REDUCE}, reduce_concat=[3])"


def genotype(normal=NORMAL, normal_concat="[2, 3]", reduce=REDUCE, reduce_concat="[3]") -> str:
    return f"Genotype(normal={normal}, normal_concat={normal_concat}, reduce={reduce}, reduce_concat={reduce_concat})"


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.formats.genotype).failed == 0


def test_a_position_in_the_text_is_a_node_and_its_entry_an_edge():
    architecture = read_genotype(TEXT)
    assert architecture.decisions["normal"] == CellArchitecture(
        (
            KeptEdge(1, 2, "sep_conv_3x3"),
            KeptEdge(0, 2, "skip_connect"),
            KeptEdge(2, 3, "dil_conv_5x5"),
            KeptEdge(0, 3, "max_pool_3x3"),
        ),
        (2, 3),
    )
    assert (architecture.space, architecture.version, architecture.arguments) == ("darts", 1, {"nodes": 2})


def test_triples_name_the_node_of_each_edge_and_nodes_may_have_one():
    # The form of FairDARTS: (operation, node, source state).
    triples = "[('sep_conv_3x3', 3, 1), ('skip_connect', 2, 0), ('dil_conv_5x5', 3, 0)]"
    cell = read_genotype(genotype(normal=triples)).decisions["normal"]
    edges = (KeptEdge(0, 2, "skip_connect"), KeptEdge(1, 3, "sep_conv_3x3"), KeptEdge(0, 3, "dil_conv_5x5"))
    assert cell == CellArchitecture(edges, (2, 3))


def test_fields_may_be_given_by_position_and_numbers_as_numpy_prints_them():
    numpy = TEXT.replace("1)", "np.int64(1))").replace("'none'", "numpy.str_('none')")
    assert read_genotype(f"Genotype({NORMAL}, [2, 3], {REDUCE}, reduce_concat=[3])") == read_genotype(TEXT)
    assert read_genotype(numpy) == read_genotype(TEXT)
    assert read_genotype("Genotype([('relu', 0)], [1])") == read_genotype(
        "Genotype(recurrent=[('relu', 0)], concat=[1])"
    )


def test_the_space_takes_what_was_read():
    space = space_of(read_genotype(TEXT))
    assert space == DartsSpace(nodes=2)
    space.check(read_genotype(TEXT))


def test_text_to_architecture_to_text_is_the_same_text():
    assert write_genotype(read_genotype(TEXT)) == TEXT


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_texts_come_back_in_their_own_order(name):
    plain = re.sub(r"range\((\d), (\d)\)", lambda m: str(list(range(int(m[1]), int(m[2])))), PUBLISHED[name])
    squeezed = re.sub(r"\s+", "", plain).replace(",]", "]").replace(",)", ")")
    assert re.sub(r"\s+", "", write_genotype(read_genotype(PUBLISHED[name]))) == squeezed


def test_architectures_drawn_from_the_space_survive_the_text():
    space, generator = DartsSpace(nodes=3), torch.Generator().manual_seed(0)
    for _ in range(20):
        drawn = space.random(generator)
        assert read_genotype(write_genotype(drawn)).decisions == drawn.decisions


def test_range_and_tuples_stand_for_lists():
    tuples = genotype(normal=f"({NORMAL[1:-1]})", normal_concat="range(2, 4)", reduce_concat="(3,)")
    assert read_genotype(tuples) == read_genotype(TEXT)


def test_a_node_may_take_the_same_state_and_even_the_same_operation_twice():
    twice = "[('avg_pool_3x3', 0), ('avg_pool_3x3', 0)]"
    architecture = read_genotype(genotype(normal=twice, reduce=twice, normal_concat="[2]", reduce_concat="[2]"))
    cell = architecture.decisions["normal"]
    assert isinstance(cell, CellArchitecture)
    assert cell.edges == (KeptEdge(0, 2, "avg_pool_3x3"),) * 2


def test_a_normal_cell_may_concatenate_its_inputs():
    cell = read_genotype(genotype(normal_concat="[0, 3]")).decisions["normal"]
    assert isinstance(cell, CellArchitecture)
    assert cell.output == (0, 3)


FILE = f"""
from collections import namedtuple
Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')
import os; os.system('false')  # never run
FIRST = {TEXT}
# OLD = {genotype(normal_concat="[2]")}
SECOND = {genotype(reduce_concat="[2, 3]")}
THIRD = FIRST
"""


def test_the_only_genotype_of_a_file_is_taken():
    assert read_genotype(FILE.replace("SECOND", "# SECOND")) == read_genotype(TEXT)


def test_of_several_the_named_one_is_taken():
    cell = read_genotype(FILE, name="SECOND").decisions["reduce"]
    assert isinstance(cell, CellArchitecture)
    assert cell.output == (2, 3)


def test_of_several_none_is_guessed_and_commented_ones_do_not_count():
    with pytest.raises(ValueError, match=r"holds 2 genotypes: FIRST, SECOND\. Name the one"):
        read_genotype(FILE)
    with pytest.raises(ValueError, match=r"no genotype named 'OLD'; it has FIRST, SECOND"):
        read_genotype(FILE, name="OLD")


def test_a_log_with_one_genotype_is_read_and_repetition_is_no_ambiguity():
    line = f"03/14 10:15 AM genotype = {TEXT}\n"
    assert read_genotype(f"epoch 49\n{line}train_acc 97.1\n{line}") == read_genotype(TEXT)
    with pytest.raises(ValueError, match="2 different genotypes named 'genotype'"):
        read_genotype(line + line.replace("[2, 3]", "[3]"), name="genotype")


def test_brackets_and_comments_inside_strings_and_comments_do_not_end_it():
    commented = TEXT.replace("normal_concat", "# the ')' of a comment\n normal_concat")
    assert read_genotype(commented) == read_genotype(TEXT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here", "holds no complete genotype"),
        (TEXT[:-1], "holds no complete genotype"),
        (genotype(normal="[('sep_conv_3x3', 1)]"), r"normal must be a list of \(operation, state\) pairs, 2 for each"),
        (genotype(normal="[]"), "2 for each node"),
        (genotype(normal="3"), "2 for each node; got 3"),
        (
            genotype(normal="[('sep_conv_3x3', 1), ('sep_conv_9x9', 0)]"),
            r"normal\[1\] has an unknown operation",
        ),
        (genotype(normal="[('skip_connect', 1), ('skip_connect', 2)]"), r"normal\[1\] goes from state 2 into state 2"),
        (genotype(normal="[('skip_connect', -1), ('skip_connect', 0)]"), r"normal\[0\] goes from state -1"),
        (genotype(reduce="[('skip_connect', 1, 2), ('skip_connect', 0)]"), r"reduce\[0\] must be \(operation, state\)"),
        (genotype(normal="[('skip_connect', True), ('skip_connect', 0)]"), r"normal\[0\] must be \(operation, state\)"),
        (genotype(normal="[('skip_connect', x), ('skip_connect', 0)]"), "normal must be plain data"),
        (genotype(normal="__import__('os').getcwd()"), "normal must be plain data"),
        (genotype(normal_concat="[2, 4]"), r"normal_concat must list states from 0 to 3.*got \[2, 4\]"),
        (genotype(normal_concat="[]"), "normal_concat must list states"),
        (genotype(normal_concat="[2, 2]"), "each once"),
        (genotype(reduce_concat="[1, 2]"), "reduce_concat must list states from 2 to 3"),
        (genotype(normal_concat="list(range(4))"), "or range"),
        (genotype(normal_concat="range(2, 4, 1)"), "or range"),
        (genotype(normal_concat="range(-1000000000, 4)"), "or range"),
        (
            genotype(reduce="[('none', 1), ('none', 0)]", reduce_concat="[2]"),
            "'normal' has 2 nodes and",
        ),
        ("Genotype(recurrent=[('gelu', 0)], concat=[1])", r"recurrent\[0\] has an unknown activation 'gelu'"),
        ("Genotype(recurrent=[('relu', 1)], concat=[1])", r"recurrent\[0\] goes from state 1 into state 1"),
        ("Genotype(recurrent=[('relu', 0)], concat=[2])", "concat must list states from 0 to 1"),
        ("Genotype(recurrent=['relu'], concat=[1])", r"recurrent\[0\] must be \(activation, state\)"),
        ("Genotype(recurrent=[], concat=[1])", r"must be a list of \(activation, state\) pairs"),
        ("Genotype(recurrent=[('relu', 0)])", "recurrent and concat, each once"),
        ("Genotype([], [], [], [])", "2 for each node"),
        ("Genotype([], [], [], [], [])", "each once; got"),
        ("Genotype([], normal=[], normal_concat=[2], reduce=[], reduce_concat=[2])", "each once; got"),
        (genotype(normal="[('none', 2, 0), ('none', 4, 1)]"), "normal has no entry for node 3"),
        (genotype(normal="[('none', 1, 0)]"), r"normal\[0\] goes into state 1, which is an input"),
        (genotype(normal="[('none', 2, 2)]"), r"normal\[0\] goes from state 2 into state 2"),
        (genotype(normal="[('none', 10**9, 2)]"), "plain data"),
        (genotype(normal="[('none', 1000000000, 2)]"), "nodes"),
        (genotype(normal="[('none', np.load('x'))]"), "plain data"),
        ("Genotype(normal=[], reduce=[])", r"has the fields normal.*got \['normal', 'reduce'\]"),
        ("Genotype(**{'normal': 1})", "has the fields"),
        ("Genotype(normal=" + "(" * 5000 + ")" * 5000 + ")", "not a readable genotype"),
        ("Genotype(normal=" + "-" * 15000 + "1)", "genotype"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        read_genotype(text)


def test_a_recurrent_genotype_has_one_edge_for_each_node():
    text = "Genotype(recurrent=[('relu', 0), ('tanh', 1)], concat=range(1, 3))"
    architecture = read_genotype(text)
    assert architecture == RecurrentSpace(nodes=2).architecture(
        {"recurrent": CellArchitecture((KeptEdge(0, 1, "relu"), KeptEdge(1, 2, "tanh")), (1, 2))}
    )
    assert read_genotype(write_genotype(architecture)) == architecture
    two = CellArchitecture((KeptEdge(0, 1, "relu"), KeptEdge(0, 1, "tanh")), (1,))
    with pytest.raises(ValueError, match="one edge for each node of a recurrent cell"):
        write_genotype(RecurrentSpace().architecture({"recurrent": two}))


def test_messages_name_source_and_genotype():
    wrong = genotype(normal="[('skip_connect', 5), ('skip_connect', 0)]")
    with pytest.raises(ValueError, match=r"^cells\.py: BAD: normal\[0\] goes from state 5"):
        read_genotype(f"BAD = {wrong}", source="cells.py")


def test_an_architecture_that_the_text_cannot_say_is_refused():
    one_edge = CellArchitecture((KeptEdge(0, 2, "skip_connect"),), (2,))
    with pytest.raises(ValueError, match="exactly 2 edges for each node"):
        write_genotype(Architecture({"normal": one_edge, "reduce": one_edge}, "darts"))
    with pytest.raises(ValueError, match="of space 'module'"):
        write_genotype(Architecture({"choice": "relu"}))


def test_brackets_that_are_not_closed_are_refused_after_a_hundred():
    assert dnas.formats.genotype.genotype_calls("Genotype(" * 100) == []
    with pytest.raises(ValueError, match="more than 100 genotypes whose brackets are not closed"):
        dnas.formats.genotype.genotype_calls("Genotype(" * 101)


@pytest.mark.parametrize("write", [write_genotype, write_mmrazor])
def test_what_is_no_cell_is_not_written(write):
    with pytest.raises(ValueError, match="'normal' must be a cell; got 'relu'"):
        write(Architecture({"normal": "relu", "reduce": "relu"}, space="darts"))
