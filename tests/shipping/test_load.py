"""dnas.load: from a run folder to the trained network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dnas.core.architecture import Architecture
from dnas.core.choice import Choice
from dnas.core.derive import derive
from dnas.core.run import Run
from dnas.core.searchable import Searchable
from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.searching.search import search
from dnas.searching.settings import SearchSettings
from dnas.shipping.interface import Interface
from dnas.shipping.load import load, load_spec
from dnas.shipping.package import save_network
from dnas.shipping.spec import ModuleBuilder, NetworkSpec, SpaceBuilder
from dnas.space import DartsSpace

INTERFACE = Interface(("no", "yes"), ResizeRule(8), Normalization((0.5,), (0.25,)))
ARCHITECTURE = DartsSpace(nodes=2).random(torch.Generator().manual_seed(0))
BUILDER = SpaceBuilder(channels=2, cells=2, num_classes=2, in_channels=1, auxiliary=True)
SPEC = NetworkSpec(ARCHITECTURE, BUILDER, INTERFACE)
IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def trained_network() -> nn.Module:
    """With running statistics that are not those of a new network, in eval mode."""
    torch.manual_seed(0)
    network = BUILDER.network(ARCHITECTURE)
    network(IMAGES)
    return network.eval()


def make_model(*, activations: tuple[str, ...] = ("relu", "tanh"), width: int = 3) -> nn.Module:
    """A user's own searchable module."""
    made = {"relu": nn.ReLU, "tanh": nn.Tanh}
    kernels = {"1x1": nn.Conv2d(1, width, 1), "3x3": nn.Conv2d(1, width, 3, padding=1)}
    return nn.Sequential(
        Choice("kernel", kernels),
        nn.BatchNorm2d(width),
        Choice("activation", {name: made[name]() for name in activations}),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 2),
    )


@pytest.fixture
def search_run(tmp_path: Path) -> Path:
    """The run of a search of the user's module, made from Python."""
    torch.manual_seed(0)
    data = [(torch.randn(4, 1, 8, 8), torch.randint(0, 2, (4,))) for _ in range(4)]
    search(make_model(), data[:2], data[2:], settings=SearchSettings(epochs=1), run=Run(tmp_path))
    return tmp_path


@pytest.mark.parametrize("where", [".", "retrain"])
def test_a_retrained_network_gives_its_logits_again_without_auxiliary_head(tmp_path: Path, where: str):
    network = trained_network()
    save_network(Run(tmp_path / where), network, SPEC)
    loaded = load(tmp_path)
    assert not loaded.training
    assert not any("auxiliary" in name for name in loaded.state_dict())
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), network(IMAGES))
    assert load_spec(str(tmp_path)) == SPEC


def test_a_retrained_module_of_the_user_is_derived_from_a_new_one(tmp_path: Path):
    architecture = Architecture({"kernel": "3x3", "activation": "tanh"})
    network = derive(make_model(), architecture)
    network(IMAGES)
    network.eval()
    save_network(Run(tmp_path / "retrain"), network, NetworkSpec(architecture, ModuleBuilder(), INTERFACE))
    given = make_model()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    loaded = load(tmp_path, model=given)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), network(IMAGES))
    assert not any(isinstance(module, Searchable) for module in loaded.modules())
    assert all(torch.equal(given.state_dict()[name], value) for name, value in before.items())


def test_a_retrained_module_of_the_user_is_not_found_without_the_module(tmp_path: Path):
    architecture = Architecture({"kernel": "3x3", "activation": "tanh"})
    spec = NetworkSpec(architecture, ModuleBuilder(), INTERFACE)
    save_network(Run(tmp_path), derive(make_model(), architecture), spec)
    with pytest.raises(ValueError, match=r"your own module.*model=make_model\(\)"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"network.pt belongs to another architecture.*\(3, 1, 3, 3\).*\(5, 1, 3, 3\)"):
        load(tmp_path, model=make_model(width=5))


def test_a_searched_module_that_was_not_retrained_has_the_searched_weights(search_run: Path):
    run = Run(search_run)
    given = make_model()
    loaded = load(search_run, model=given)
    supernet = make_model()
    supernet.load_state_dict(run.load_checkpoint("last")["supernet"]["model"])
    expected = derive(supernet, run.load_architecture()).eval()
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), expected(IMAGES))
    assert not any(isinstance(module, Searchable) for module in loaded.modules())
    assert any(isinstance(module, Searchable) for module in given.modules())


@pytest.mark.parametrize(("model", "message"), [
    (lambda: make_model(activations=("tanh", "relu")), r"another space: decisions\.activation\.candidates"),
    (lambda: make_model(width=5), r"0\.candidates\.0\.weight is a tensor of shape \(3, 1, 1, 1\)"),
    (lambda: nn.Linear(2, 2), "holds no choice"),
])  # fmt: skip
def test_another_module_than_the_searched_one_is_told_the_first_difference(
    search_run: Path, model: Callable[[], nn.Module], message: str
):
    with pytest.raises(ValueError, match=message):
        load(search_run, model=model())


def test_a_search_that_was_not_retrained_says_how_to(search_run: Path):
    for call in (load, load_spec):
        with pytest.raises(FileNotFoundError, match=f"holds no retrained network.*`dnas retrain {search_run}`"):
            call(search_run)


def test_a_search_that_has_not_finished_says_so(search_run: Path):
    (search_run / "architecture.json").unlink()
    with pytest.raises(FileNotFoundError, match="its search has not finished"):
        load(search_run, model=make_model())


def test_a_checkpoint_of_something_else_is_refused(search_run: Path):
    Run(search_run).save_checkpoint("last", {"supernet": {"model": 3}})
    with pytest.raises(ValueError, match=r"last.pt is not the checkpoint of a search"):
        load(search_run, model=make_model())


def test_a_model_for_a_network_that_needs_none_is_refused(tmp_path: Path):
    save_network(Run(tmp_path), trained_network(), SPEC)
    with pytest.raises(ValueError, match="built from the space 'darts'; leave out `model`"):
        load(tmp_path, model=make_model())


def test_weights_of_another_architecture_are_told_the_first_difference(tmp_path: Path):
    save_network(Run(tmp_path), trained_network(), SPEC)
    other = replace(SPEC, architecture=DartsSpace(nodes=2).random(torch.Generator().manual_seed(5)))
    (tmp_path / "network.json").write_text(other.to_json())
    with pytest.raises(ValueError, match=r"network.pt belongs to another architecture or space: blocks.0.cell"):
        load(tmp_path)


def test_numbers_that_do_not_fit_the_weights_allocate_nothing(tmp_path: Path):
    save_network(Run(tmp_path), trained_network(), SPEC)
    data = json.loads(SPEC.to_json())
    data["builder"]["channels"] = 10_000  # a network of 4 GB
    (tmp_path / "network.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"network.pt belongs to another.*stem.conv.weight is"):
        load(tmp_path)


def test_an_architecture_of_an_unknown_space_is_refused(tmp_path: Path):
    save_network(Run(tmp_path), trained_network(), SPEC)
    data = json.loads(SPEC.to_json())
    data["architecture"]["space"] = "nasbench999"
    (tmp_path / "network.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="no space 'nasbench999'"):
        load(tmp_path)


def test_damaged_or_missing_weights_are_named(tmp_path: Path):
    save_network(Run(tmp_path), trained_network(), SPEC)
    weights = tmp_path / "network.pt"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"network.pt is damaged"):
        load(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no network.pt"):
        load(tmp_path)


def test_weights_that_would_run_code_are_refused(tmp_path: Path):
    save_network(Run(tmp_path), trained_network(), SPEC)
    torch.save({"layer": nn.Linear(1, 1)}, tmp_path / "network.pt")
    with pytest.raises(ValueError, match=r"network.pt is damaged or no checkpoint"):
        load(tmp_path)


def test_a_missing_folder_and_a_file_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; expected a run folder"):
        load(tmp_path / "file")


def test_a_loaded_network_can_be_trained_further(tmp_path: Path):
    save_network(Run(tmp_path), trained_network(), SPEC)
    network = load(tmp_path).train()
    network(IMAGES).sum().backward()
    assert_close(network.classifier.bias.grad, torch.full((2,), 4.0))  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
