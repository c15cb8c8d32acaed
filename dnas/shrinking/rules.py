"""What may vary in a model and what must stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn

from dnas.shrinking.groups import Frozen, Structure
from dnas.shrinking.kernels import Conv, Kernel, kernel_of
from dnas.shrinking.separable import Separable, separable_of


@dataclass(frozen=True)
class Rule:
    """Whether some modules may become narrower, be left out, or get other kernels.

    Of several rules for a module the last one counts.

    Args:
        where: names of modules as a pattern ('layers.*.conv1'), a class of modules, or a function of name and module.
        width: whether numbers of channels in these modules may change.
        depth: whether these modules may be left out, where they are residual blocks.
        kernel: whether kernels of these modules may become smaller; without a rule they stay.
        separable: whether convolutions among these modules may become depthwise-separable; without a rule they stay.

    Example:
        >>> [Rule("*", width=False), Rule(nn.Conv2d)]  # only convolutions, and what goes with them alone
        [...]
    """

    where: str | type[nn.Module] | Callable[[str, nn.Module], bool]
    width: bool = True
    depth: bool = True
    kernel: bool = False
    separable: bool = False

    def matches(self, name: str, module: nn.Module) -> bool:
        """Whether the rule is about this module."""
        if isinstance(self.where, str):
            return fnmatchcase(name, self.where)
        return isinstance(module, self.where) if isinstance(self.where, type) else self.where(name, module)


def ruled(model: nn.Module, structure: Structure, rules: Sequence[Rule]) -> Structure:
    """The structure without the groups and blocks that rules forbid, with the kernels that they allow.

    A group of several modules needs the consent of all of them.
    """
    last = {
        name: next((rule for rule in reversed(rules) if rule.matches(name, module)), None)
        for name, module in model.named_modules()
    }
    forbidden = {name for name, rule in last.items() if rule is not None and not rule.width}
    groups, frozen = [], []
    for group in structure.groups:
        owners = [tensor.rpartition(".")[0] for (tensor, _), _ in group.places]
        owner = next((name for name in owners if name in forbidden), None)
        if owner is None:
            groups.append(group)
        else:
            frozen.append(Frozen(group.name, f"a rule keeps {owner or 'the model itself'} as it is"))
    blocks = []
    for block in structure.blocks:
        rule = last[block.name]
        if rule is None or rule.depth:
            blocks.append(block)
        else:
            frozen.append(Frozen(block.name, "a rule keeps it"))
    kernels, of_kernels = _of_convolutions(model, {n for n, rule in last.items() if rule and rule.kernel}, kernel_of)
    asked = {name for name, rule in last.items() if rule and rule.separable}
    separables, of_separables = _of_convolutions(model, asked, separable_of)
    return replace(
        structure,
        groups=tuple(groups),
        blocks=tuple(blocks),
        kernels=kernels,
        separables=separables,
        frozen=(*structure.frozen, *frozen, *of_kernels, *of_separables),
    )


_Part = TypeVar("_Part", Kernel, Separable)


def _of_convolutions(
    model: nn.Module, asked: set[str], find: Callable[[str, nn.Module], _Part | str]
) -> tuple[tuple[_Part, ...], list[Frozen]]:
    """What rules ask for among the modules of these names, and what stays with the reason."""
    owners = Counter(id(module.weight) for module in model.modules() if isinstance(module, Conv))
    parts, frozen = list[_Part](), list[Frozen]()
    for name in (name for name, _ in model.named_modules() if name in asked):
        module = model.get_submodule(name)
        found = find(name, module)
        if isinstance(module, Conv) and owners[id(module.weight)] > 1 and found:
            found = "it shares its weight with another convolution"
        if not isinstance(found, str):
            parts.append(found)
        elif found:
            frozen.append(Frozen(f"{name}.kernel", found))
    return tuple(parts), frozen
