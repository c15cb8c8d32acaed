"""Texts of architectures that were made to harm are refused in one short line, within 4 GiB and a few seconds."""

from tests.support.limited import lines_under_limit

HOSTILE = """
from dnas.formats import read_genotype, read_mmrazor, read_nasbench201

def cells(num_edges, concat="[2]"):
    cell = "[" + "('skip_connect', 0)," * num_edges + "]"
    return f"Genotype(normal={cell}, normal_concat={concat}, reduce={cell}, reduce_concat={concat})"

far = "[('skip_connect', 1000000000000), ('skip_connect', 0)]"
for text in (
    cells(20_000),
    cells(202),
    cells(2, "[" + "2," * 100_000 + "]"),
    cells(2, "range(2, 1000000000000)"),
    cells(2, "[9**9**9]"),
    cells(2).replace("[('skip_connect', 0),('skip_connect', 0),]", far),
    "Genotype(normal=" + "(" * 9000 + ")" * 9000 + ")",
    "Genotype(" * 1_000_000,
    "Genotype(recurrent=[" + "('relu', 0)," * 150 + "], concat=[1])",
    "Genotype(recurrent=[('relu', 1000000000000)], concat=[1])",
):
    refused(read_genotype, text)
for text in (
    "|none~0|+" * 1_000_000,
    "|none~0|+|none~0|none~1|+|" + "none~0|" * 1_000_000,
    "|none~1000000000000|+|none~0|none~1|+|none~0|none~1|none~2|",
):
    refused(read_nasbench201, text)
for text in (
    "normal_n1000000000000: {chosen: [normal_n1000000000000_p0]}",
    "".join(f"normal_n{i}: {{chosen: [normal_n{i}_p0]}}" + chr(10) for i in range(2, 1000)),
    "normal_n2: {chosen: [" + "normal_n2_p0, " * 5000 + "]}",
):
    refused(read_mmrazor, text)
"""


def test_hostile_texts_are_refused_in_one_short_line_under_4_gib():
    found = lines_under_limit(HOSTILE)
    assert len(found) == 16
    assert max(map(len, found)) < 500
    expected = {
        1: "nodes must be at most 100; got 101.",
        5: "goes from state 1000000000000 into state 2",
        7: "more than 100 genotypes whose brackets are not closed",
        8: "nodes must be at most 100; got 150.",
    }
    assert "nothing was refused" not in found
    for line, said in expected.items():
        assert said in found[line]
