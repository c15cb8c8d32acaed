"""The contract of every search space."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture, CellArchitecture, Kept
from dnas.core.batch import Batch
from dnas.core.decision import Decision
from dnas.core.derive import derive
from dnas.core.mixture import uniform
from dnas.core.progress import FollowsProgress
from dnas.core.searchable import Searchable
from dnas.method.discretization.genome import sites
from dnas.method.discretization.genome import size as num_ways
from dnas.searching.supernet import Supernet
from dnas.space import Space
from dnas.system.random_state import seeded
from dnas.testing.require import copies, require, same, unchanged

NUM_CLASSES, IN_CHANNELS, BATCH = 3, 2, 2
DRAWS = 8


class _Sizes(NamedTuple):
    channels: int
    cells: int

    def model(self, space: Space, *, num_classes: int = NUM_CLASSES) -> nn.Module:
        return space.model(channels=self.channels, cells=self.cells, num_classes=num_classes, in_channels=IN_CHANNELS)

    def network(self, space: Space, architecture: Architecture) -> nn.Module:
        return space.network(
            architecture,
            channels=self.channels,
            cells=self.cells,
            num_classes=NUM_CLASSES,
            in_channels=IN_CHANNELS,
        )


def check_space(space: Space, *, channels: int = 8, cells: int = 3, image_size: int = 16) -> None:
    """Check the contract of every space, on a small supernet and networks of several random architectures.

    - An architecture file can hold `name`, `version`, `summary` and the arguments, and the supernet has exactly the
      decisions that the space names.
    - Random architectures depend only on the generator, fit the decisions and `check`, and keep nothing excluded. There
      are no more of them than `size`, and no more than the decisions leave open. Each survives JSON unchanged.
    - Networks and supernet map images of any number of channels to logits, and depend only on the seed.
    - The supernet under one-hot mixtures and the derived network agree to 1e-10, unless something in the supernet
    follows
      the progress of the search (an auxiliary skip or drop-path is not derived).
    - An architecture of another space, and sizes below 1, are refused.
    - All of this also holds after copying, and nothing else is changed.

    Args:
        space: the part to check.
        channels: channels of its supernet and networks.
        cells: cells of its supernet and networks.
        image_size: height and width of the images, in pixels.

    Raises:
        AssertionError: names the first point that does not hold.

    Example:
        >>> from dnas import NasBench201Space
        >>> check_space(NasBench201Space(), cells=1)
    """
    sizes = _Sizes(channels, cells)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, IN_CHANNELS, image_size, image_size, generator=generator, dtype=torch.float64)
    _check_names(space)
    with unchanged(space, {}):
        decisions = space.decisions()
        drawn = _draws(space)
    _check_decisions(space, decisions)
    for architecture in drawn:
        _check_architecture(space, architecture, decisions)
    _check_size(space, drawn, decisions)
    for kind, copied in copies(space).items():
        require(same(_draws(cast(Space, copied)), drawn), space, f"draws others than its {kind} copy")
    with unchanged(space, {"the images": images}), seeded(0):
        _check_supernet(space, drawn[:2], images, sizes)
        _check_networks(space, drawn[:2], images, sizes)
    _check_refusals(space, drawn[0], sizes)


def _draws(space: Space) -> list[Architecture]:
    generator = torch.Generator().manual_seed(1)
    return [space.random(generator) for _ in range(DRAWS)]


def _check_names(space: Space) -> None:
    named = isinstance(space.name, str) and space.name and isinstance(space.summary, str) and space.summary
    require(bool(named), space, f"needs a name and a summary; got {space.name!r} and {space.summary!r}")
    require(type(space.version) is int and space.version >= 1, space, f"has the version {space.version!r}")
    try:
        back = json.loads(json.dumps(space.arguments))
    except TypeError as error:
        raise AssertionError(f"{type(space).__name__} has arguments that are not JSON: {error}.") from error
    require(back == space.arguments, space, f"has arguments that JSON changes, {space.arguments} to {back}")


def _check_decisions(space: Space, decisions: Mapping[str, Decision]) -> None:
    require(len(decisions) > 0, space, "has no decisions")
    for name, decision in decisions.items():
        require(decision.name == name, space, f"calls the decision {decision.name!r} {name!r}")
    require(space.decisions() == decisions, space, "has other decisions when asked again")


def _check_architecture(space: Space, found: Architecture, decisions: Mapping[str, Decision]) -> None:
    stamp = (found.space, found.version, dict(found.arguments))
    own = (space.name, space.version, space.arguments)
    require(stamp == own, space, f"stamps {stamp} on what it draws, not {own}")
    try:
        found.check(decisions)
        with unchanged(space, {}):
            space.check(found)
    except ValueError as error:
        raise AssertionError(f"{type(space).__name__} draws what does not fit: {error}") from error
    for name, kept in found.decisions.items():
        excluded = set(_names(kept)) & set(decisions[name].excluded)
        require(not excluded, space, f"draws {sorted(excluded)} of {name!r}, excluded there")
    require(Architecture.from_json(found.to_json()) == found, space, "draws what comes back from JSON as another")


def _names(kept: Kept) -> tuple[str, ...]:
    if isinstance(kept, CellArchitecture):
        return tuple(edge.operation for edge in kept.edges)
    return (kept,) if isinstance(kept, str) else kept


def _check_size(space: Space, drawn: list[Architecture], decisions: Mapping[str, Decision]) -> None:
    require(same(_draws(space), drawn), space, "draws others from a generator of the same seed")
    size, different = space.size(), len({architecture.to_json() for architecture in drawn})
    ways = num_ways(sites(decisions, {name: uniform(one.shape, torch.empty(0)) for name, one in decisions.items()}))
    fits = type(size) is int and different <= size <= ways
    require(fits, space, f"says that {size} can be drawn; {different} were, and the decisions leave {ways} open")
    require(different > 1 or size == 1, space, f"draws the same each time, but says that there are {size}")


def _check_supernet(space: Space, drawn: list[Architecture], images: Tensor, sizes: _Sizes) -> None:
    supernet = Supernet(_built(space, "supernet", lambda: sizes.model(space))).to(dtype=torch.float64)
    require(supernet.decisions == space.decisions(), space, "has other decisions than its supernet")
    _check_logits(space, "supernet", supernet.model(images))
    if any(isinstance(module, FollowsProgress) for module in supernet.model.modules()):
        return
    batch = Batch(images, torch.zeros(BATCH, dtype=torch.int64))
    for architecture in drawn:
        found = derive(supernet.model, architecture)
        with torch.no_grad(), seeded(0):  # operations that draw numbers, such as noise, draw the same ones
            one_hot = supernet.forward(supernet.weights(), supernet.one_hot(architecture), batch)
        with torch.no_grad(), seeded(0):
            plain = found(images)
        agree = torch.allclose(one_hot, plain, rtol=1e-10, atol=1e-10)
        require(agree, space, "derives a network that differs from the supernet under one-hot mixtures")


def _check_networks(space: Space, drawn: list[Architecture], images: Tensor, sizes: _Sizes) -> None:
    for architecture in drawn:
        build = partial(sizes.network, space, architecture)
        network = _built(space, "network", build).to(torch.float64)
        searchable = any(isinstance(module, Searchable) for module in network.modules())
        require(not searchable, space, "leaves something searchable in the network of an architecture")
        for mode in (True, False):
            _check_logits(space, "network", network.train(mode)(images))


def _built(space: Space, what: str, build: Callable[[], nn.Module]) -> nn.Module:
    """The module that `build` returns, after checking that the same seed gives the same one."""
    with seeded(0):
        built = build()
    with seeded(0):
        again = build()
    require(
        same(dict(built.state_dict()), dict(again.state_dict())), space, f"builds another {what} from the same seed"
    )
    return built


def _check_logits(space: Space, what: str, logits: object) -> None:
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    require(shape == (BATCH, NUM_CLASSES), space, f"has a {what} that gives {shape} instead of logits")
    assert isinstance(logits, Tensor)
    require(bool(logits.isfinite().all()), space, f"has a {what} that gives NaN or infinity")


def _check_refusals(space: Space, architecture: Architecture, sizes: _Sizes) -> None:
    other = replace(architecture, space=f"not {space.name}")
    calls = {
        "an architecture of another space": lambda: space.check(other),
        "a network of an architecture of another space": lambda: sizes.network(space, other),
        "a supernet of 0 channels": lambda: sizes._replace(channels=0).model(space),
        "a supernet for 0 classes": lambda: sizes.model(space, num_classes=0),
    }
    for what, call in calls.items():
        try:
            call()
        except ValueError:
            continue
        raise AssertionError(f"{type(space).__name__} accepts {what}.")
