"""What may vary in a model and what must stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch import nn

from dnas.shrinking.groups import Frozen, Structure
from dnas.shrinking.kernels import Conv, Kernel, kernel_of


@dataclass(frozen=True)
class Rule:
    """Whether some modules may become narrower, be left out, or get smaller kernels.

    Of several rules for a module the last one counts.

    Args:
        where: names of modules as a pattern ('layers.*.conv1'), a class of modules, or a function of name and module.
        width: whether numbers of channels in these modules may change.
        depth: whether these modules may be left out, where they are residual blocks.
        kernel: whether kernels of these modules may become smaller; without a rule they stay.

    Example:
        >>> [Rule("*", width=False), Rule(nn.Conv2d)]  # only convolutions, and what goes with them alone
        [...]
    """

    where: str | type[nn.Module] | Callable[[str, nn.Module], bool]
    width: bool = True
    depth: bool = True
    kernel: bool = False

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
    kernels = []
    owners = Counter(id(module.weight) for module in model.modules() if isinstance(module, Conv))
    for name, module in model.named_modules():
        rule = last[name]
        found = kernel_of(name, module) if rule is not None and rule.kernel else ""
        if isinstance(module, Conv) and owners[id(module.weight)] > 1 and found:
            found = "it shares its weight with another convolution"
        if isinstance(found, Kernel):
            kernels.append(found)
        elif found:
            frozen.append(Frozen(f"{name}.kernel", found))
    return replace(
        structure,
        groups=tuple(groups),
        blocks=tuple(blocks),
        kernels=tuple(kernels),
        frozen=(*structure.frozen, *frozen),
    )
