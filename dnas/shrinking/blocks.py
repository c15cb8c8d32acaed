"""Residual blocks that may be left out: those that return what came in, plus what their branches add."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from dnas.core.batch import tensors_in


@dataclass(frozen=True)
class Block:
    """A module whose output is its input plus branches, perhaps through a ReLU, and may be left out.

    Args:
        name: of the module.
        activation: whether a ReLU follows; leaving the block out is then exact where its input is not negative.
        takes_more: whether it is called with more than its input, such as a mask.
    """

    name: str
    activation: bool
    takes_more: bool = False

    def holds(self, name: str) -> bool:
        """Whether a module, or a tensor of one, is part of the block."""
        return name == self.name or name.startswith(f"{self.name}.")

    def stand_in(self) -> nn.Module:
        """What stands in the place of the block where it is left out."""
        return First() if self.takes_more else nn.Identity()

    def without(self, x: Tensor) -> Tensor:
        """What is left where the block is left out."""
        return x.relu() if self.activation else x

    def weighed(self, stays: Tensor, x: Tensor, output: Tensor) -> Tensor:
        """m output + (1 - m) of what is left without the block.

        Args:
            stays: m, a scalar from 0 to 1.
            x: the block's input.
            output: its output.
        """
        return stays * output + (1 - stays) * self.without(x)


class First(nn.Module):
    """Gives back the first of its arguments."""

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        return x


@dataclass
class Passage:
    """One call of a module, and the tensors in it that are its input with something added.

    Args:
        name: of the module.
        kind: its class.
        through: the input, the sums that it is part of, and these after a ReLU.
        activation: whether there was a ReLU.
        takes_more: whether it was given more than its input.
        others: tensors that it was given besides; what adds one of these is no branch of its own.
    """

    name: str
    kind: type
    through: list[Tensor] = field(default_factory=list)
    activation: bool = False
    takes_more: bool = False
    others: list[Tensor] = field(default_factory=list)

    @staticmethod
    def of(name: str, kind: type, arguments: Any, keywords: Any) -> Passage:
        """A call; only one whose first argument is a tensor can be left out."""
        through = [arguments[0]] if arguments and isinstance(arguments[0], Tensor) else []
        others = [*tensors_in(arguments[1:]), *tensors_in(keywords)]
        return Passage(name, kind, through, takes_more=len(arguments) > 1 or bool(keywords), others=others)

    def follow(self, operator: str, arguments: tuple[Any, ...], out: Any) -> None:
        """One operator that ran in the module itself."""
        if not isinstance(out, Tensor):
            return
        passing = [tensor for tensor in tensors_in(arguments) if self._passes(tensor)]
        summed = operator == "add" and len(passing) == 1 and arguments[-1] == 1 and out.shape == passing[0].shape
        own = not any(tensor is other for tensor in tensors_in(arguments) for other in self.others)
        if summed and own:
            self.through.append(out)
        elif operator == "relu" and len(passing) == 1 and len(self.through) > 1:
            self.through.append(out)
            self.activation = True
        elif self._passes(out):
            # Written over by something else, such as an activation in place.
            self.through = []

    def take_inner(self, inner: Passage, output: Any) -> None:
        """A module inside that gave back its input, or a ReLU of it: `nn.ReLU` and empty shortcuts."""
        if isinstance(output, Tensor) and inner.kind.__name__ == "ReLU" and inner.through:
            self.follow("relu", (inner.through[0],), output)

    def block(self, output: Any) -> Block | None:
        """The block, if what the module returns is its input plus something."""
        if len(self.through) > 1 and isinstance(output, Tensor) and self._passes(output):
            return Block(self.name, self.activation, self.takes_more)
        return None

    def _passes(self, tensor: Tensor) -> bool:
        return any(tensor is one for one in self.through)


def innermost(blocks: list[Block | None]) -> tuple[Block, ...]:
    """Blocks that ran once and hold no other block."""
    found = [block for block in blocks if block is not None]
    names = [block.name for block in found]
    return tuple(
        block
        for block in found
        if names.count(block.name) == 1
        and not any(other != block and block.holds(other.name) for other in found)
        and block.name
    )
