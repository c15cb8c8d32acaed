"""Frozen parts in evaluation mode stay so; everything else is trained."""

import torch
from torch import nn

from dnas import Choice, RetrainSettings, SearchSettings, retrain, search
from dnas.core.derive import derive
from dnas.core.training_mode import set_training_mode


def with_backbone() -> nn.Sequential:
    """A frozen backbone in evaluation mode, before a choice and a head."""
    backbone = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)).requires_grad_(False).eval()
    acts = Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})
    return nn.Sequential(backbone, acts, nn.BatchNorm1d(6), nn.Linear(6, 2))


def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 4, generator=generator), torch.randint(0, 2, (8,), generator=generator)) for _ in range(3)]


def test_all_is_in_training_mode_but_frozen_parts_in_evaluation_mode():
    model = with_backbone().eval()
    set_training_mode(model)
    assert not any(part.training for part in model[0].modules())
    assert all(part.training for module in model[1:] for part in module.modules())
    model[0].train()
    set_training_mode(model)
    assert all(part.training for part in model.modules())


def test_a_search_and_a_training_leave_a_frozen_backbone_as_it_was():
    model = with_backbone()
    before = {name: tensor.clone() for name, tensor in model[0].state_dict().items()}
    head = model[3].weight.clone()
    result = search(model, data(), data(), settings=SearchSettings(epochs=2))
    assert not any(part.training for part in model[0].modules())
    network = retrain(derive(model, result.architecture), data(), settings=RetrainSettings(epochs=2))
    for backbone in (model[0], network[0]):
        assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    assert not torch.equal(head, network[3].weight)
