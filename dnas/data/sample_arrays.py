"""Arrays of an .npz file that are no images with a class each: tables, signals, tokens, and targets of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnas.data.array_set import ArraySet
from dnas.data.catalog import Catalog, check_classes, fixed_catalog
from dnas.data.sample_kind import Inputs, SampleKind
from dnas.data.target_kinds import check_targets, ignored_by, num_outputs_of, targets_of
from dnas.system.errors import UserError
from dnas.system.reading.arrays import ArrayHeader, read_arrays
from dnas.task.base import Task
from dnas.task.language import LanguageModelling

_FEWEST = 8  # samples
_MOST_TOKENS = 1_000_000

EXPECTED_INPUTS = (
    "uint8 pixels (samples, height, width, 1 or 3) or (samples, height, width), real numbers (samples, features), "
    "(samples, channels, length), (samples, channels, height, width) ..., or whole numbers that are tokens"
)


def open_samples(path: Path, headers: Mapping[str, ArrayHeader], task: Task | None) -> Catalog:
    """The catalog of an .npz file with `x_train` and `y_train` of any kind, and `x_test` and `y_test` like them.

    Args:
        path: of the file.
        headers: of its arrays.
        task: says what the targets are; None leaves it to their type and shape.

    Raises:
        UserError: says which array does not fit, and what was expected.
    """
    _check_lengths(path, headers)
    arrays = read_arrays(path, ("x_train", "y_train", "x_test", "y_test", "class_names"))
    kind = _kind_of(path, arrays, task)
    train, test = (_set_of(path, arrays, part, kind, task) for part in ("train", "test"))
    assert train is not None
    return fixed_catalog(str(path), train, test)


def read_inputs(path: Path, kind: SampleKind) -> Tensor:
    """The inputs in an .npz file for which a network is to predict: its array `x`, or `x_test`.

    Raises:
        UserError: it has neither, or inputs of another kind than `kind`.
    """
    arrays = read_arrays(path, ("x", "x_test"))
    name = "x" if "x" in arrays else "x_test"
    if name not in arrays:
        raise UserError(f"{path} holds no array x, nor x_test: expected inputs of shape (samples, {_sides(kind)}).")
    array = arrays[name]
    found = inputs_of(array, None) if kind.inputs != "tokens" else "tokens"
    if array.ndim < 1 or found != kind.inputs:
        raise UserError(f"{path}: {name} is {array.dtype} of shape {array.shape}; expected {kind.inputs}.")
    inputs = _inputs(f"{path}: {name}", array, kind.inputs)
    if tuple(inputs.shape[1:]) != kind.shape or (kind.num_tokens and int(inputs.max()) >= kind.num_tokens):
        raise UserError(
            f"{path}: {name} has inputs of shape {tuple(inputs.shape[1:])}; the network takes ({_sides(kind)})"
            f"{f' of tokens below {kind.num_tokens}' if kind.num_tokens else ''}."
        )
    return inputs


def inputs_of(array: ArrayHeader | NDArray[Any], task: Task | None) -> Inputs:
    """What the inputs `(samples, ...)` are: uint8 images are pixels, other whole numbers tokens, the rest numbers."""
    if isinstance(task, LanguageModelling):
        return "tokens"
    if array.dtype == np.uint8:
        return "pixels" if len(array.shape) in (3, 4) else "numbers"
    return "tokens" if array.dtype.kind in "iu" else "numbers"


def _sides(kind: SampleKind) -> str:
    return ", ".join(map(str, kind.shape))


def _check_lengths(path: Path, headers: Mapping[str, ArrayHeader]) -> None:
    """Check, before anything is unpacked, that a part has as many targets as inputs, of the shapes of training."""
    for part in ("train", "test"):
        if f"x_{part}" not in headers:
            continue
        if f"y_{part}" not in headers:
            raise UserError(f"{path} has x_{part} but no y_{part}: expected the targets of these inputs.")
        inputs, targets = headers[f"x_{part}"], headers[f"y_{part}"]
        for name, header in ((f"x_{part}", inputs), (f"y_{part}", targets)):
            if not header.shape or 0 in header.shape[1:] or header.dtype.kind not in "biuf":
                raise UserError(
                    f"{path}: {name} is {header.dtype} of shape {header.shape}. Expected {EXPECTED_INPUTS}."
                )
            usual = headers[f"{name[0]}_train"]
            if header.shape[1:] != usual.shape[1:] or header.dtype.kind != usual.dtype.kind:
                raise UserError(
                    f"{path}: {name} is {header.dtype} of shape {header.shape}, and {name[0]}_train {usual.dtype} of "
                    f"shape {usual.shape}; expected the same but for the number of samples."
                )
        if inputs.shape[0] != targets.shape[0]:
            raise UserError(
                f"{path}: x_{part} has {inputs.shape[0]} samples, of shape {inputs.shape}, and y_{part} "
                f"{targets.shape[0]}, of shape {targets.shape}; expected one target for each."
            )
    if headers["x_train"].shape[0] < _FEWEST:
        raise UserError(f"{path}: x_train has {headers['x_train'].shape[0]} samples; a search needs {_FEWEST} or more.")


def _kind_of(path: Path, arrays: Mapping[str, NDArray[Any]], task: Task | None) -> SampleKind:
    x, y = arrays["x_train"], arrays["y_train"]
    inputs, targets, ignored = inputs_of(x, task), targets_of(task, y), ignored_by(task)
    check_targets(f"{path}: y_train", y, targets, ignored=ignored)
    tensors = _inputs(f"{path}: x_train", x, inputs)
    count = num_outputs_of(f"{path}: y_train", y, targets, ignored=ignored)
    num_tokens = 0
    if inputs == "tokens":
        num_tokens = int(tensors.max()) + 1
        if isinstance(task, LanguageModelling):  # one vocabulary for both
            count = num_tokens = max(count, num_tokens)
        if num_tokens > _MOST_TOKENS:
            raise UserError(f"{path}: x_train has tokens up to {num_tokens - 1}; at most {_MOST_TOKENS - 1} are read.")
    names = _names(path, arrays, count)
    kind = SampleKind(names, tuple(tensors.shape[1:]), inputs, targets, num_tokens=num_tokens)
    shape = {"class": (), "numbers": y.shape[1:] or (1,)}.get(targets, y.shape[1:])
    if targets == "class":
        check_classes(str(path), names, np.unique(y).tolist())
    return replace(kind, target_shape=tuple(shape))


def _names(path: Path, arrays: Mapping[str, NDArray[Any]], count: int) -> tuple[str, ...]:
    names = tuple(map(str, arrays.get("class_names", np.arange(count)).reshape(-1)))
    if len(names) < count:
        raise UserError(f"{path}: class_names has {len(names)} names, but y_train tells {count} outputs apart.")
    return names


def _set_of(
    path: Path, arrays: Mapping[str, NDArray[Any]], part: str, kind: SampleKind, task: Task | None
) -> ArraySet | None:
    if f"x_{part}" not in arrays:
        return None
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    ignored, name = ignored_by(task), f"{path}: y_{part}"
    check_targets(name, y, kind.targets, ignored=ignored)
    wanted = torch.from_numpy(y.astype(np.float32 if kind.targets in ("numbers", "labels") else np.int64))
    wanted = wanted.reshape(len(y), *kind.target_shape)
    valid = wanted[wanted != ignored] if kind.targets == "map" else wanted
    if kind.targets in ("class", "map") and valid.numel() and int(valid.max()) >= kind.num_outputs:
        raise UserError(f"{name} has class {int(valid.max())}; those of training are 0 to {kind.num_outputs - 1}.")
    inputs = _inputs(f"{path}: x_{part}", x, kind.inputs)
    if kind.num_tokens and inputs.numel() and int(inputs.max()) >= kind.num_tokens:
        raise UserError(f"{path}: x_{part} has token {int(inputs.max())}; training has those below {kind.num_tokens}.")
    return ArraySet(inputs, wanted, kind, f"{path.name} {part}")


def _inputs(name: str, array: NDArray[Any], inputs: Inputs) -> Tensor:
    """An array `(samples, ...)` as inputs.

    Raises:
        UserError: NaN, infinity, a token below 0, or no images.
    """
    if inputs == "pixels":
        images = array[..., None] if array.ndim == 3 else array
        if images.shape[3] not in (1, 3):
            raise UserError(f"{name} is uint8 of shape {array.shape}. Expected {EXPECTED_INPUTS}.")
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    if inputs == "tokens":
        if array.dtype.kind not in "iu" or array.ndim < 2 or (array.size and array.min() < 0):
            raise UserError(
                f"{name} is {array.dtype} of shape {array.shape}. Tokens are whole numbers from 0 up, of shape "
                "(samples, tokens); save whole numbers that are features as float32."
            )
        return torch.from_numpy(array.astype(np.int64))
    numbers = torch.from_numpy(array.astype(np.float32))
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    finite = numbers.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise UserError(
            f"{name} holds NaN or infinity (or numbers too large for float32) in {int((~finite).sum())} of "
            f"{len(numbers)} samples, the first is sample {int((~finite).nonzero()[0])}."
        )
    return numbers
