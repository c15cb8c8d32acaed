"""Architectures as other tools write them: DARTS genotypes, NAS-Bench-201 strings, MMRazor's YAML.

dnas's own files of architectures are written and read in `core`.
"""

from dnas.formats.genotype import read_genotype, write_genotype
from dnas.formats.mmrazor import read_mmrazor, write_mmrazor
from dnas.formats.nasbench201 import read_nasbench201, write_nasbench201
from dnas.formats.published import PUBLISHED, published
from dnas.formats.read import architecture_text, read_architecture

__all__ = [
    "PUBLISHED",
    "architecture_text",
    "published",
    "read_architecture",
    "read_genotype",
    "read_mmrazor",
    "read_nasbench201",
    "write_genotype",
    "write_mmrazor",
    "write_nasbench201",
]
