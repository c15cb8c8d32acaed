"""Shared by all contracts: complaints, bitwise comparison, and checks that nothing changes."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def require(condition: bool, part: object, complaint: str) -> None:
    """Raise an AssertionError that names the class of the part unless the condition holds."""
    if not condition:
        raise AssertionError(f"{type(part).__name__} {complaint}.")


def same(a: object, b: object) -> bool:
    """Bitwise equality of nested dictionaries, lists and tuples with tensors in them; NaN equals NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@contextmanager
def unchanged(part: object, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Check that the block changes no tensor or `.grad`, nor the part, the gradient mode or global random numbers.

    Args:
        part: the part whose class a complaint names.
        tensors: the tensors, by their names in complaints.
    """
    before = _snapshot(part, tensors)
    yield
    after = _snapshot(part, tensors)
    changed = [what for what in before if not same(before[what], after[what])]
    require(not changed, part, f"changed {', '.join(changed)}")


def copies(part: object) -> dict[str, object]:
    """A pickled and a deep copy of the part, both of which must equal it."""
    found = {"pickled": pickle.loads(pickle.dumps(part)), "deep": copy.deepcopy(part)}
    for kind, copied in found.items():
        require(copied == part, part, f"is not equal to its {kind} copy")
    return found


def _snapshot(part: object, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    found: dict[str, object] = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    found |= {f"the .grad of {name}": copy.deepcopy(tensor.grad) for name, tensor in tensors.items()}
    found |= {f"requires_grad of {name}": tensor.requires_grad for name, tensor in tensors.items()}
    found["itself"] = pickle.dumps(part)
    found["the gradient mode"] = torch.is_grad_enabled()
    found["the random state"] = torch.get_rng_state()
    found["the random state of Python"] = random.getstate()
    if torch.cuda.is_available():
        found["the random state of the GPU"] = torch.cuda.get_rng_state()
    return found
