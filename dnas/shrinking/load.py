"""A network that was shrunk, from its run folder and the original model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.own_module import OwnModule, made_model
from dnas.core.run import SHRINK, Run
from dnas.shipping.load import load as load_network
from dnas.shipping.package import SPEC_FILE, check_state, read_weights
from dnas.shrinking.groups import Selection
from dnas.shrinking.rules import Rule
from dnas.shrinking.searchable import make_searchable
from dnas.system.errors import UserError
from dnas.system.reading import shortened


def load(path: Path | str, *, model: OwnModule | None = None, device: torch.device | str = "cpu") -> nn.Module:
    """The trained network of a run, in evaluation mode.

    It is read from network.json and network.pt in the folder itself or in its `retrain` folder. A network of one of our
    spaces comes without its auxiliary head. Files are read as data; no code in them is executed.

    The files do not contain a user's own module: give a new one, made as for the search. The found architecture is
    derived from it (the given module does not change) and gets the weights that were trained last: those of the
    retraining in the folder itself or in `retrain`, or, without a retraining, those of the search. For a folder of
    `dnas.shrink` give the original model, whose weights do not matter: it is cut as it was then.

    Args:
        path: a run, its retraining, a shrinking, or any folder with the two files, such as an export.
        model: the searchable or the original module, or a function that makes it, such as its class; only for a user's
            own module.
        device: device for the network.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no trained network.
        UserError: files are damaged, weights belong to another network, the model does not fit, or a training has not
            finished.

    Example:
        >>> network = load("runs/flowers")  # doctest: +SKIP
        >>> logits = network(images)  # (batch, classes) from normalised images  # doctest: +SKIP
    """
    folder = Path(path)
    if not (folder / f"{SHRINK}.json").exists() or (folder / SPEC_FILE).exists():
        return load_network(path, model=model, device=device)
    if model is None:
        raise UserError(
            f"{folder} holds a model of your own that was shrunk, which no file holds: give the original, "
            f"dnas.load({str(folder)!r}, model=make_model())."
        )
    return _shrunk(folder, made_model(model)).to(device).eval()


def _shrunk(folder: Path, model: nn.Module) -> nn.Module:
    kept = Run(folder).load_json(SHRINK)
    source = folder / f"{SHRINK}.json"
    try:
        chosen = kept["selection"]
        selection = Selection(
            {str(name): tuple(map(int, classes)) for name, classes in chosen["kept"].items()},
            tuple(chosen["skipped"]),
            {str(name): int(size) for name, size in chosen.get("kernels", {}).items()},
            tuple(map(str, chosen.get("separated", ()))),
        )
        example = example_of(kept["example"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{source} is damaged ({type(error).__name__}: {error}).") from error
    smaller = {name.removesuffix(".kernel") for name in selection.kernels}
    apart = set(selection.separated)
    rules = [Rule(name, kernel=name in smaller, separable=name in apart) for name in sorted(smaller | apart)]
    searchable = make_searchable(model, example, rules=rules)
    structure = searchable.structure
    sizes = {group.name: len(group) for group in structure.groups}
    blocks = {block.name for block in structure.blocks}
    for name, classes in selection.kept.items():
        if name not in sizes or any(not 0 <= index < sizes[name] for index in classes):
            raise UserError(f"{source} is of another model: the one given has no {name} of such a width.")
    if not set(selection.skipped) <= blocks:
        raise UserError(f"{source} is of another model: the one given has no block {shortened(selection.skipped)}.")
    kernels = {kernel.name: kernel.sizes for kernel in structure.kernels}
    for name, size in selection.kernels.items():
        if size not in kernels.get(name, ()):
            raise UserError(f"{source} is of another model: the one given has no {name} of size {size}.")
    if not apart <= {one.module for one in structure.separables}:
        raise UserError(f"{source} is of another model: the one given has no convolution {shortened(sorted(apart))}.")
    network = searchable.derive(selection)
    state = read_weights(folder)
    check_state(network, state, source=str(folder / "network.pt"))
    network.load_state_dict(state)
    return network


def described_example(example: Any) -> Any:
    """Shapes and types of inputs as plain data.

    Example:
        >>> described_example((torch.zeros(1, 3), {"mask": None}))
        [{'shape': [1, 3], 'dtype': 'float32'}, {'parts': {'mask': None}}]
    """
    if isinstance(example, Tensor):
        return {"shape": list(example.shape), "dtype": str(example.dtype).removeprefix("torch.")}
    if isinstance(example, Mapping):
        return {"parts": {str(name): described_example(part) for name, part in example.items()}}
    if isinstance(example, tuple | list):
        return [described_example(part) for part in example]
    return example if example is None or isinstance(example, bool | int | float | str) else None


# The largest example that a file may ask for, in numbers.
_LARGEST = 10**8


def example_of(described: Any) -> Any:
    """Zeros of the described shapes and types.

    Raises:
        ValueError, TypeError, KeyError: it is no such description.
    """
    if isinstance(described, list):
        return tuple(example_of(part) for part in described)
    if not isinstance(described, Mapping):
        return described
    if "parts" in described:
        return {name: example_of(part) for name, part in described["parts"].items()}
    dtype = getattr(torch, described["dtype"], None)
    shape = [int(size) for size in described["shape"]]
    if not isinstance(dtype, torch.dtype) or torch.Size(shape).numel() > _LARGEST or min(shape, default=0) < 0:
        raise ValueError(f"{shortened(dict(described))} describes no inputs")
    return torch.zeros(shape, dtype=dtype)
