"""Architectures that were published as genotypes, as in their authors' code."""

from __future__ import annotations

from dnas.core.architecture import Architecture
from dnas.formats.genotype import read_genotype
from dnas.system.errors import UserError

# NASNet-A (Zoph et al. 2018, https://arxiv.org/abs/1707.07012) and AmoebaNet-A (Real et al. 2019,
# https://arxiv.org/abs/1802.01548) as written in https://github.com/quark0/darts, cnn/genotypes.py.
NASNET = """Genotype(
    normal=[
        ('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), ('sep_conv_3x3', 0), ('avg_pool_3x3', 1),
        ('skip_connect', 0), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 1),
    ],
    normal_concat=[2, 3, 4, 5, 6],
    reduce=[
        ('sep_conv_5x5', 1), ('sep_conv_7x7', 0), ('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1),
        ('sep_conv_5x5', 0), ('skip_connect', 3), ('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1),
    ],
    reduce_concat=[4, 5, 6],
)"""
AMOEBANET = """Genotype(
    normal=[
        ('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0),
        ('avg_pool_3x3', 3), ('sep_conv_3x3', 1), ('skip_connect', 1), ('skip_connect', 0), ('avg_pool_3x3', 1),
    ],
    normal_concat=[4, 5, 6],
    reduce=[
        ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_7x7', 2), ('sep_conv_7x7', 0),
        ('avg_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1), ('conv_7x1_1x7', 0), ('sep_conv_3x3', 5),
    ],
    reduce_concat=[3, 4, 6],
)"""

# DARTS, first and second order (Liu et al. 2019, https://arxiv.org/abs/1806.09055, https://github.com/quark0/darts).
DARTS_V1 = """Genotype(
    normal=[
        ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1),
        ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2),
    ],
    normal_concat=[2, 3, 4, 5],
    reduce=[
        ('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0),
        ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0),
    ],
    reduce_concat=[2, 3, 4, 5],
)"""
DARTS_V2 = """Genotype(
    normal=[
        ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
        ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2),
    ],
    normal_concat=[2, 3, 4, 5],
    reduce=[
        ('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
        ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1),
    ],
    reduce_concat=[2, 3, 4, 5],
)"""

# P-DARTS (Chen et al. 2019, https://arxiv.org/abs/1904.12760, https://github.com/chenxin061/pdarts).
PDARTS = """Genotype(
    normal=[
        ('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1),
        ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 0), ('dil_conv_5x5', 4),
    ],
    normal_concat=range(2, 6),
    reduce=[
        ('avg_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2),
        ('max_pool_3x3', 0), ('dil_conv_3x3', 1), ('dil_conv_3x3', 1), ('dil_conv_5x5', 3),
    ],
    reduce_concat=range(2, 6),
)"""

# PC-DARTS, searched on CIFAR-10 and on ImageNet (Xu et al. 2020, https://arxiv.org/abs/1907.05737,
# https://github.com/yuhuixu1993/PC-DARTS).
PC_DARTS_CIFAR = """Genotype(
    normal=[
        ('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), ('dil_conv_3x3', 1),
        ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_3x3', 1),
    ],
    normal_concat=range(2, 6),
    reduce=[
        ('sep_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2),
        ('sep_conv_3x3', 0), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2),
    ],
    reduce_concat=range(2, 6),
)"""
PC_DARTS_IMAGENET = """Genotype(
    normal=[
        ('skip_connect', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 0), ('skip_connect', 1),
        ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('dil_conv_5x5', 4),
    ],
    normal_concat=range(2, 6),
    reduce=[
        ('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_5x5', 2), ('max_pool_3x3', 1),
        ('sep_conv_3x3', 2), ('sep_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 3),
    ],
    reduce_concat=range(2, 6),
)"""

# Recurrent cells for Penn Treebank: ENAS (Pham et al. 2018, https://arxiv.org/abs/1802.03268), and DARTS in first and
# second order, as written in https://github.com/quark0/darts, rnn/genotypes.py.
ENAS_RNN = """Genotype(
    recurrent=[
        ('tanh', 0), ('tanh', 1), ('relu', 1), ('tanh', 3), ('tanh', 3), ('relu', 3),
        ('relu', 4), ('relu', 7), ('relu', 8), ('relu', 8), ('relu', 8),
    ],
    concat=[2, 5, 6, 9, 10, 11],
)"""
DARTS_RNN_V1 = """Genotype(
    recurrent=[
        ('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1), ('relu', 5), ('relu', 1),
    ],
    concat=range(1, 9),
)"""
DARTS_RNN_V2 = """Genotype(
    recurrent=[
        ('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5), ('tanh', 3),
        ('relu', 5),
    ],
    concat=range(1, 9),
)"""

PUBLISHED = {
    "NASNET": NASNET,
    "AMOEBANET": AMOEBANET,
    "DARTS_V1": DARTS_V1,
    "DARTS_V2": DARTS_V2,
    "PDARTS": PDARTS,
    "PC_DARTS_CIFAR": PC_DARTS_CIFAR,
    "PC_DARTS_IMAGENET": PC_DARTS_IMAGENET,
    "ENAS_RNN": ENAS_RNN,
    "DARTS_RNN_V1": DARTS_RNN_V1,
    "DARTS_RNN_V2": DARTS_RNN_V2,
}


def published(name: str) -> Architecture:
    """The architecture that was published under this name.

    Raises:
        UserError: there is no such name; the message lists them.

    Example:
        >>> published("DARTS_V2").decisions["normal"].edges[0]
        KeptEdge(source=0, target=2, operation='sep_conv_3x3')
    """
    if name not in PUBLISHED:
        raise UserError(f"No architecture is published under {name!r}; known are {', '.join(PUBLISHED)}.")
    return read_genotype(PUBLISHED[name], source=name)
