"""A supernet of masks against the networks that are cut out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.testing import assert_close

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch
from dnas.searching.supernet import Supernet
from dnas.shrinking.expected import own_values
from dnas.shrinking.searchable import Narrowable
from dnas.shrinking.supernet import MaskedModel
from dnas.task import Classification


def check_supernet(
    searchable: Narrowable,
    example: Tensor,
    drawn: Callable[[Narrowable, int], dict[str, int]],
    ranking: Mapping[str, Sequence[int]],
) -> None:
    """The supernet equals the original, bit for bit, at its largest, and three drawn networks to 1e-12."""
    program = searchable.program(3)
    widths = {group.name: own_values(program, group.name) for group in searchable.structure.groups}
    supernet = Supernet(MaskedModel(searchable.model, searchable.structure, widths, ranking), task=Classification())

    def outputs(values: Mapping[str, int]) -> Tensor:
        options = {name: decision.candidates for name, decision in supernet.decisions.items()}
        # A width inside of a block that is out is any one.
        kept = {
            name: some[values[name]] if "out" in some else str(values[name] or some[0])
            for name, some in options.items()
        }
        return supernet.forward(supernet.weights(), supernet.one_hot(Architecture(kept)), Batch(example, None))

    with torch.no_grad():
        assert torch.equal(outputs(searchable.largest), searchable.model(example))
        for seed in range(3):
            values = drawn(searchable, seed)
            small = searchable.derive(searchable.selection(values, ranking))
            assert_close(outputs(values), small(example), rtol=0, atol=1e-12)
