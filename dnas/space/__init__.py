"""Search spaces: supernets to search, and the networks that their architectures describe.

How a space is searched is in `searching`; choices and cells themselves are in `core`.
"""

from dnas.space.base import Space, Stem
from dnas.space.darts import DartsSpace
from dnas.space.drop_path import set_drop_path
from dnas.space.lookup import space_named, space_of
from dnas.space.mobile import MobileSpace
from dnas.space.nasbench201 import NasBench201Space
from dnas.space.recurrent import RecurrentSpace
from dnas.space.reduced import ReducedDartsSpace
from dnas.space.transformer import TransformerSpace

__all__ = [
    "DartsSpace",
    "MobileSpace",
    "NasBench201Space",
    "RecurrentSpace",
    "ReducedDartsSpace",
    "Space",
    "Stem",
    "TransformerSpace",
    "set_drop_path",
    "space_named",
    "space_of",
]
