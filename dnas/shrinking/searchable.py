"""A model whose widths and blocks are choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from dnas.cost.flops import Inputs
from dnas.shrinking.costs import Polynomial, flops_of, parameters_of
from dnas.shrinking.groups import Frozen, Selection, Structure, find_groups
from dnas.shrinking.masking import masked
from dnas.shrinking.model_checks import check_example, check_model
from dnas.shrinking.program import Program
from dnas.shrinking.rules import Rule, ruled
from dnas.shrinking.slicing import sliced
from dnas.shrinking.trace import trace
from dnas.shrinking.verification import verified
from dnas.system.errors import UserError

# From so many classes on, widths are multiples of eight, which suits matrix units.
_WIDE, _MULTIPLE = 64, 8


@dataclass(frozen=True)
class Narrowable:
    """A model and what may vary in it; the model stays as it is.

    Args:
        model: the one that was given.
        structure: groups of channels, blocks, and what stays with the reason.
        flops: of one forward pass over the example.
        parameters: their number.
    """

    model: nn.Module
    structure: Structure
    flops: Polynomial
    parameters: Polynomial

    @property
    def largest(self) -> dict[str, int]:
        """Every decision at its largest: the model as it is."""
        widths = {group.name: len(group) for group in self.structure.groups}
        kernels = {kernel.name: kernel.largest for kernel in self.structure.kernels}
        return widths | {part.name: 1 for part in (*self.structure.blocks, *self.structure.separables)} | kernels

    def check_something_varies(self) -> None:
        """See that there is a decision.

        Raises:
            UserError: there is none; the message has the reasons.
        """
        if not self.largest:
            reasons = "; ".join(dict.fromkeys(one.reason for one in self.structure.frozen))
            raise UserError(f"Nothing in this model may become smaller: {reasons}.")

    def program(self, steps: int = 8) -> Program:
        """The decisions, with widths in steps such as eighths, at least one class each."""
        structure = self.structure
        values: dict[str, Sequence[int]] = {part.name: (0, 1) for part in (*structure.blocks, *structure.separables)}
        values |= {kernel.name: kernel.sizes for kernel in self.structure.kernels}
        inside = {}
        for group in self.structure.groups:
            block = self.structure.block_of(group.name)
            values[group.name] = (*((0,) if block else ()), *widths(len(group), steps))
            if block:
                inside[group.name] = block.name
        return Program(values, inside)

    def derive(self, selection: Selection) -> nn.Module:
        """A physically smaller copy, in eval mode, of the same class."""
        return sliced(self.model, self.structure, selection)

    def masked(self, selection: Selection) -> nn.Module:
        """A copy of the full size that computes the same as `derive`."""
        return masked(self.model, self.structure, selection)

    def selection(self, values: Mapping[str, int], ranking: Mapping[str, Sequence[int]]) -> Selection:
        """The first classes of each group's ranking, as many as its value says.

        Args:
            values: numbers of classes; 0 or 1 for blocks, and for convolutions that may become separable; sizes of
                kernels.
            ranking: for each group, the indices of its classes, the most important first.
        """
        skipped = tuple(block.name for block in self.structure.blocks if not values[block.name])
        gone = [block for block in self.structure.blocks if block.name in skipped]
        kept = {
            group.name: tuple(sorted(ranking[group.name][: values[group.name]]))
            for group in self.structure.groups
            if self.structure.block_of(group.name) not in gone
        }
        kernels = {kernel.name: values[kernel.name] for kernel in self.structure.kernels}
        separated = tuple(one.module for one in self.structure.separables if not values[one.name])
        return Selection(kept, skipped, kernels, separated)

    def consistent(self, values: Mapping[str, int]) -> dict[str, int]:
        """The values with 0 for the widths inside of blocks that are left out."""
        result = dict(values)
        for group in self.structure.groups:
            block = self.structure.block_of(group.name)
            if block is not None and not values[block.name]:
                result[group.name] = 0
        return result


def make_searchable(model: nn.Module, example: Inputs, *, rules: Sequence[Rule] = ()) -> Narrowable:
    """Finds the widths and residual blocks of a trained model that may vary, and verifies each.

    The model is run a few times in float64 on the CPU or where it is; it is not changed. What cannot vary is listed in
    `structure.frozen` with the reason.

    Args:
        model: any module.
        example: inputs as the model takes them: a tensor, a tuple of arguments, or a mapping of keyword arguments.
        rules: what must stay.

    Raises:
        UserError: the model cannot be copied or traced, or refuses the example; it is on several devices, of several
            dtypes, or wrapped for data parallelism; no module with weights has a name of a
            rule's pattern.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> searchable = make_searchable(model, torch.zeros(1, 4))
        >>> [(group.name, len(group)) for group in searchable.structure.groups]
        [('0', 8)]
        >>> searchable.derive(Selection({"0": (0, 1, 5)}))
        Sequential(
          (0): Linear(in_features=4, out_features=3, bias=True)
          (1): ReLU()
          (2): Linear(in_features=3, out_features=2, bias=True)
        )
    """
    check_model(model)
    check_example(example)
    structure = verified(model, example, ruled(model, find_groups(trace(model, example)), rules))
    return _with_small_costs(model, structure)


def widths(count: int, steps: int) -> tuple[int, ...]:
    """Numbers of classes in equal steps up to `count`, at least 1; of many classes in multiples of eight.

    Example:
        >>> widths(4, 8), widths(96, 4)
        ((1, 2, 3, 4), (24, 48, 72, 96))
    """
    unit = _MULTIPLE if count >= _WIDE else 1
    found = {min(count, max(1, unit * round(count * step / steps / unit))) for step in range(1, steps)}
    return tuple(sorted({*found, count}))


def _with_small_costs(model: nn.Module, structure: Structure) -> Narrowable:
    """The choices, without those that are multiplied with too many others.

    The program takes products of three, of which two are widths or blocks: a kernel counts with both of its widths.
    """
    while True:
        flops, parameters = flops_of(structure), parameters_of(structure)
        kernels = {part.name for part in (*structure.kernels, *structure.separables)}
        terms = [set(names) for cost in (flops, parameters) for names in cost.terms]
        # A kernel goes before a width does.
        name = next((min(names & kernels) for names in terms if len(names) > 3 and names & kernels), None)
        name = name or next((max(names - kernels) for names in terms if len(names - kernels) > 2), None)
        if name is None:
            return Narrowable(model, structure, flops, parameters)
        structure = replace(
            structure,
            groups=tuple(group for group in structure.groups if group.name != name),
            blocks=tuple(block for block in structure.blocks if block.name != name),
            kernels=tuple(kernel for kernel in structure.kernels if kernel.name != name),
            separables=tuple(one for one in structure.separables if one.name != name),
            frozen=(*structure.frozen, Frozen(name, "too many decisions would be multiplied in one cost")),
        )
