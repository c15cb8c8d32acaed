"""MMRazor's subnet YAML, as its configurations for DARTS have it."""

import subprocess
import sys

import pytest

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.formats import published, read_genotype, read_mmrazor, write_genotype, write_mmrazor

yaml = pytest.importorskip("yaml")


def entries() -> dict:
    """The cells of `GENOTYPE`, with two entries of edges that are not kept."""
    kept = {
        "normal_n2": ["normal_n2_p1", "normal_n2_p0"],
        "normal_n3": ["normal_n3_p0", "normal_n3_p2"],
        "reduce_n2": ["reduce_n2_p0", "reduce_n2_p1"],
        "reduce_n3": ["reduce_n3_p2", "reduce_n3_p1"],
        "normal_n2_p0": ["skip_connect"],
        "normal_n2_p1": ["sep_conv_3x3"],
        "normal_n3_p0": ["max_pool_3x3"],
        "normal_n3_p1": ["zero"],
        "normal_n3_p2": ["dil_conv_5x5"],
        "reduce_n2_p0": ["max_pool_3x3"],
        "reduce_n2_p1": ["avg_pool_3x3"],
        "reduce_n3_p0": ["sep_conv_5x5"],
        "reduce_n3_p1": ["zero"],
        "reduce_n3_p2": ["sep_conv_5x5"],
    }
    return {name: {"chosen": chosen} for name, chosen in kept.items()}


GENOTYPE = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('max_pool_3x3', 0), ('dil_conv_5x5', 2)], "
    "normal_concat=[2, 3], reduce=[('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 2), ('none', 1)], "
    "reduce_concat=[2, 3])"
)


def test_the_map_is_the_genotype_with_the_same_edges_in_its_order():
    architecture = read_mmrazor(yaml.safe_dump(entries()))
    assert write_genotype(architecture) == GENOTYPE
    assert architecture == read_genotype(GENOTYPE)


def test_one_name_may_stand_for_a_list_of_one():
    data = entries()
    data["normal_n2_p0"] = {"chosen": "skip_connect"}
    assert read_mmrazor(yaml.safe_dump(data)) == read_genotype(GENOTYPE)


def test_architecture_to_yaml_to_architecture_is_the_same():
    for architecture in (read_genotype(GENOTYPE), published("DARTS_V2")):
        assert read_mmrazor(write_mmrazor(architecture)) == architecture


def test_what_is_written_has_an_entry_for_each_node_and_each_kept_edge_only():
    data = yaml.safe_load(write_mmrazor(read_genotype(GENOTYPE)))
    unused = ("normal_n3_p1", "reduce_n3_p0")
    assert data == {name: entry for name, entry in entries().items() if name not in unused}


def without(*names: str) -> dict:
    return {name: entry for name, entry in entries().items() if name not in names}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "must be a map such as normal_n2.*got list"),
        ({}, r"missing or too low: \['normal_n2'\]"),
        (entries() | {"middle_n2": {"chosen": ["x"]}}, "unknown entry 'middle_n2'"),
        (entries() | {5: {"chosen": ["x"]}}, "unknown entry 5"),
        (entries() | {"normal_n2": ["normal_n2_p0"]}, r"normal_n2 must be \{chosen: \[...\]\}"),
        (entries() | {"normal_n2": {"chosen": []}}, "normal_n2 must be"),
        (entries() | {"normal_n2": {"chosen": [1]}}, "normal_n2 must be"),
        (entries() | {"normal_n2": {"chosen": ["normal_n2_p0"], "weights": 1}}, "normal_n2 must be"),
        (
            entries() | {"normal_n3": {"chosen": ["normal_n2_p0"]}},
            "normal_n3 keeps 'normal_n2_p0'; its edges are normal",
        ),
        (entries() | {"normal_n3": {"chosen": ["normal_n3_p3"]}}, "normal_n3 keeps 'normal_n3_p3'; its edges are"),
        (entries() | {"normal_n3": {"chosen": ["normal_n3_p0"] * 2}}, "normal_n3 keeps an edge twice"),
        (without("normal_n2_p1"), "normal_n2 keeps normal_n2_p1, but there is no entry normal_n2_p1"),
        (entries() | {"normal_n2_p0": {"chosen": ["a", "b"]}}, "normal_n2_p0 is an edge and must choose one operation"),
        (entries() | {"normal_n2_p0": {"chosen": ["conv_9x9"]}}, "normal_n2_p0 has an unknown operation 'conv_9x9'"),
        # Also where the edge is not kept.
        (entries() | {"normal_n3_p1": {"chosen": ["conv_9x9"]}}, "normal_n3_p1 has an unknown operation"),
        (entries() | {"normal_n3_p3": {"chosen": ["zero"]}}, "normal_n3_p3 is no edge"),
        (entries() | {"normal_n1_p0": {"chosen": ["zero"]}}, "normal_n1_p0 is no edge"),
        (entries() | {"normal_n4_p0": {"chosen": ["zero"]}}, "an edge into a node that has no entry normal_n4"),
        (without("normal_n2"), r"missing or too low: \['normal_n2'\]"),
        (entries() | {"normal_n1": {"chosen": ["normal_n1_p0"]}}, r"missing or too low: \['normal_n1'\]"),
        (without("reduce_n3", "reduce_n3_p0", "reduce_n3_p1", "reduce_n3_p2"), "'normal' has 2 nodes and 'reduce' 1"),
    ],
)
def test_what_is_wrong_is_named(data, message):
    with pytest.raises(ValueError, match=f"^subnet.yaml.*{message}"):
        read_mmrazor(yaml.safe_dump(data), source="subnet.yaml")


def test_damaged_yaml_and_python_objects_in_it_are_refused():
    for text in ("normal_n2: {chosen: [", "normal_n2: !!python/object/apply:os.getcwd []"):
        with pytest.raises(ValueError, match="not readable YAML"):
            read_mmrazor(text)


def test_an_architecture_that_the_yaml_cannot_say_is_refused():
    with pytest.raises(ValueError, match="concatenates all of its nodes"):
        write_mmrazor(published("AMOEBANET"))
    twice = CellArchitecture((KeptEdge(0, 2, "skip_connect"), KeptEdge(0, 2, "max_pool_3x3")), (2,))
    with pytest.raises(ValueError, match="an edge has one operation"):
        write_mmrazor(Architecture({"normal": twice, "reduce": twice}, "darts"))
    with pytest.raises(ValueError, match="of space 'module'"):
        write_mmrazor(Architecture({"choice": "relu"}))


def test_without_pyyaml_the_message_says_what_to_install():
    code = """
import sys
sys.modules["yaml"] = None
from dnas.formats import read_mmrazor
try:
    read_mmrazor("normal_n2: {}")
except ImportError as error:
    print(error)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install ".[cli]" in a clone' in answer.stdout
