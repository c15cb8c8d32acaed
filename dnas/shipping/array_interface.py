"""The interface of a network for arrays: shapes of inputs and outputs, their names, normalisation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from dnas.data.normalization import Normalization
from dnas.data.sample_kind import Inputs, SampleKind, Targets
from dnas.shipping.entries import count, entry, name_list, normalization_in, refuse_others
from dnas.system.errors import UserError

_MOST_NUMBERS = 2**31  # of one sample; only a damaged file has more


@dataclass(frozen=True)
class ArrayInterface:
    """Everything needed to get from an array of samples to what a network says of them.

    Args:
        kind: what the samples are like.
        normalization: mean and deviation of each input channel; None for tokens, which stay as they are.

    Raises:
        UserError: the two do not fit together.
    """

    kind: SampleKind
    normalization: Normalization | None

    def __post_init__(self) -> None:
        if (self.normalization is None) != (self.kind.inputs == "tokens"):
            raise UserError("All inputs but tokens are normalised: mean and std belong to them, and to them alone.")
        if self.normalization is not None and len(self.normalization.mean) != self.kind.in_channels:
            raise UserError(
                f"mean and std have {len(self.normalization.mean)} numbers for {self.kind.in_channels} channels."
            )

    @property
    def num_classes(self) -> int:
        return self.kind.num_outputs

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample's inputs."""
        return self.kind.shape

    def to_data(self) -> dict[str, Any]:
        """Plain data."""
        kind = self.kind
        data: dict[str, Any] = {
            "names": list(kind.names),
            "inputs": {"kind": kind.inputs, "shape": list(kind.shape), "num_tokens": kind.num_tokens},
            "targets": {"kind": kind.targets, "shape": list(kind.target_shape)},
        }
        if self.normalization is not None:
            data |= {"mean": list(self.normalization.mean), "std": list(self.normalization.std)}
        return data

    @staticmethod
    def from_data(data: Mapping[str, Any], source: str) -> ArrayInterface:
        """The interface from the entries that `to_data` gives, validated.

        Args:
            data: these entries; others are ignored.
            source: name of the file for messages.

        Raises:
            UserError: an entry is missing, has a wrong type, or contradicts another.
        """
        inputs, targets = entry(data, "inputs", dict, source), entry(data, "targets", dict, source)
        refuse_others(inputs, {"kind", "shape", "num_tokens"}, source, place="inputs")
        refuse_others(targets, {"kind", "shape"}, source, place="targets")
        is_tokens = inputs.get("kind") == "tokens"
        kind = SampleKind(
            name_list(data, "names", source),
            _shape(inputs, source, "inputs", least=1),
            _one_of(inputs, get_args(Inputs), source, "inputs"),
            _one_of(targets, get_args(Targets), source, "targets"),
            _shape(targets, source, "targets", least=0),
            count(inputs, "num_tokens", source, place="inputs") if is_tokens else 0,
        )
        normalization = normalization_in(data, source) if "mean" in data or "std" in data else None
        try:
            return ArrayInterface(kind, normalization)
        except ValueError as error:
            raise UserError(f"{source}: {error}") from error


def _one_of(data: Mapping[str, Any], known: tuple[Any, ...], source: str, place: str) -> Any:
    value = entry(data, "kind", str, source, place=place)
    if value not in known:
        raise UserError(f"{source}: {place}.kind must be one of {', '.join(known)}; got {value!r}.")
    return value


def _shape(data: Mapping[str, Any], source: str, place: str, *, least: int) -> tuple[int, ...]:
    """The sides of an array, whole numbers from 1 up, `least` of them or more."""
    sides = entry(data, "shape", list, source, place=place)
    is_shape = all(type(side) is int and side > 0 for side in sides) and least <= len(sides) <= 8
    if not is_shape or math.prod(sides) > _MOST_NUMBERS:
        raise UserError(f"{source}: {place}.shape must be a list of whole numbers from 1 up; got {sides!r}.")
    return tuple(sides)
