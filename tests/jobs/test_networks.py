"""The models of a job: initial weights by the seed, fused cells."""

from dataclasses import replace

import pytest
import torch

from dnas import DartsSpace, MobileSpace
from dnas.data import image_kind
from dnas.jobs.job import Job
from dnas.jobs.networks import build_supernet_model
from dnas.space.fused import FusedCell
from dnas.training.settings import RetrainSettings

KIND = image_kind(("a", "b"), channels=3, size=8)
SMALL = Job(image_size=8, batch_size=8, channels=2, cells=3, retrain=RetrainSettings(batch_size=8))


def test_initial_weights_are_a_function_of_the_seed_and_nothing_else_changes():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    models = [build_supernet_model(replace(SMALL, seed=seed), KIND) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (torch.nn.utils.parameters_to_vector(model.parameters()) for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_fused_cells_have_the_weights_of_the_others():
    sizes = replace(SMALL, space=DartsSpace(nodes=1), channels=2, cells=3)
    plain, fused = (build_supernet_model(replace(sizes, fused=fused), KIND) for fused in (False, True))
    assert sum(isinstance(module, FusedCell) for module in fused.modules()) == 3
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), fused.state_dict().values(), strict=True))


def test_fused_is_refused_where_it_has_no_effect():
    with pytest.raises(ValueError, match="fused has no effect: no cell of MobileSpace"):
        build_supernet_model(replace(SMALL, space=MobileSpace(), channels=4, cells=3, fused=True), KIND)
