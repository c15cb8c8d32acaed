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
from dnas.system.accepted import accept
from dnas.system.errors import UserError, in_own_code
from dnas.system.reading import shortened
from dnas.system.words import did_you_mean


@dataclass(frozen=True)
class Rule:
    """Whether some modules may become narrower, be left out, or get other kernels.

    A rule is for all that lies in these modules, too. Of several rules for a module the last one counts.

    Args:
        where: names of modules as a pattern ('layers.*.conv1'), a class of modules, or a function of name and module.
        width: whether numbers of channels in these modules may change.
        depth: whether these modules may be left out, as residual blocks or with the one that they lie in.
        kernel: whether kernels of these modules may become smaller; without a rule they stay.
        separable: whether convolutions among these modules may become depthwise-separable; without a rule they stay.

    Raises:
        UserError: one of these is something else.

    Example:
        >>> [Rule("*", width=False), Rule(nn.Conv2d)]  # only convolutions, and what goes with them alone
        [...]
    """

    where: str | type[nn.Module] | Callable[[str, nn.Module], bool]
    width: bool = True
    depth: bool = True
    kernel: bool = False
    separable: bool = False

    def __post_init__(self) -> None:
        where = self.where
        if not (issubclass(where, nn.Module) if isinstance(where, type) else isinstance(where, str) or callable(where)):
            raise UserError(
                f"where of a Rule must be a pattern of names, a class of modules, or a function of name and module; "
                f"got {shortened(where)}."
            )
        accept(self)

    def matches(self, name: str, module: nn.Module) -> bool:
        """Whether the rule is about this module."""
        if isinstance(self.where, str):
            return fnmatchcase(name, self.where)
        if isinstance(self.where, type):
            return isinstance(module, self.where)
        with in_own_code(lambda: f"A rule's function failed for the module {name!r}"):
            return bool(self.where(name, module))


def ruled(model: nn.Module, structure: Structure, rules: Sequence[Rule]) -> Structure:
    """The structure without the groups and blocks that rules forbid, with the kernels that they allow.

    A group of several modules needs the consent of all of them, a block that of all that lies in it.

    Raises:
        UserError: no module with weights has a name of a rule's pattern.
    """
    last = _last_rules(model, rules)
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
        inside = (name for name in last if block.holds(name))
        kept = next((name for name in inside if (rule := last[name]) and not rule.depth), None)
        if kept is None:
            blocks.append(block)
        else:
            frozen.append(Frozen(block.name, "a rule keeps it" if kept == block.name else f"a rule keeps {kept}"))
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


def _last_rules(model: nn.Module, rules: Sequence[Rule]) -> dict[str, Rule | None]:
    """For the name of each module the last rule about it, or about a module that it lies in.

    Raises:
        UserError: no module with weights has a name of a rule's pattern.
    """
    unseen = {rule.where for rule in rules if isinstance(rule.where, str)}
    last: dict[nn.Module, int] = {}
    # A module with several names heeds all of them.
    for name, module in model.named_modules(remove_duplicate=False):
        matching = [index for index, rule in enumerate(rules) if rule.matches(name, module)]
        if next(module.parameters(), None) is not None:
            unseen -= {rules[index].where for index in matching}
        outer = last.get(model.get_submodule(name.rpartition(".")[0]), -1) if name else -1
        last[module] = max(*matching, outer, last.get(module, -1), -1)
    if unseen:
        pattern, names = min(unseen), dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters())
        raise UserError(
            f"No module with weights has the name {pattern!r} of a rule{did_you_mean(pattern, names)}; there are "
            f"{shortened([*names])}."
        )
    return {name: rules[last[module]] if last[module] >= 0 else None for name, module in model.named_modules()}


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
