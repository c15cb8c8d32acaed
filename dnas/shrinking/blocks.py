"""Residual blocks that may be left out: those that return what came in, plus what their branches add.

Layers of transformers that normalise last, LN(x + branch(x)), count as well, perhaps several such steps one after the
other, where what comes in was normalised by the layer before: without the layer that is what goes on (LayerDrop, Fan et
al. 2020, https://arxiv.org/abs/1909.11556, leaves out the same layers).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from dnas.core.batch import tensors_in

# The operator of layer norms; it gives mean and deviation as well.
LAYER_NORM = "native_layer_norm"


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
        comes_normalised: whether its input is what a layer norm gave.
        normalised: those among `through` that a layer norm of a sum gave, and sums with them.
    """

    name: str
    kind: type
    through: list[Tensor] = field(default_factory=list)
    activation: bool = False
    takes_more: bool = False
    others: list[Tensor] = field(default_factory=list)
    comes_normalised: bool = False
    normalised: list[Tensor] = field(default_factory=list)

    @staticmethod
    def of(name: str, kind: type, arguments: Any, keywords: Any, normalised: list[Tensor]) -> Passage:
        """A call; only one whose first argument is a tensor can be left out.

        Args:
            name: of the module.
            kind: its class.
            arguments: of the call.
            keywords: likewise.
            normalised: what layer norms have given so far.
        """
        through = [arguments[0]] if arguments and isinstance(arguments[0], Tensor) else []
        others = [*tensors_in(arguments[1:]), *tensors_in(keywords)]
        comes = any(_holds(normalised, tensor) for tensor in through)
        takes_more = len(arguments) > 1 or bool(keywords)
        return Passage(name, kind, through, takes_more=takes_more, others=others, comes_normalised=comes)

    def follow(self, operator: str, arguments: tuple[Any, ...], out: Any) -> None:
        """One operator that ran in the module, or in one inside of it."""
        if operator == LAYER_NORM and len(self.through) > 1 and self._passes(arguments[0]):
            self.through.append(out[0])
            self.normalised.append(out[0])
            return
        if not isinstance(out, Tensor):
            return
        passing = [tensor for tensor in tensors_in(arguments) if self._passes(tensor)]
        summed = operator == "add" and len(passing) == 1 and arguments[-1] == 1 and out.shape == passing[0].shape
        own = not any(tensor is other for tensor in tensors_in(arguments) for other in self.others)
        if summed and own:
            self.through.append(out)
            if _holds(self.normalised, passing[0]):
                self.normalised.append(out)
        elif operator == "relu" and len(passing) == 1 and len(self.through) > 1:
            self.through.append(out)
            self.activation = True
        elif self._passes(out):
            # Written over by something else, such as an activation in place.
            self.through = []

    def block(self, output: Any) -> Block | None:
        """The block, if what the module returns is its input plus something."""
        if not isinstance(output, Tensor) or len(self.through) < 2 or not self._passes(output):
            return None
        if self.comes_normalised or not _holds(self.normalised, output):
            return Block(self.name, self.activation, self.takes_more)
        return None

    def _passes(self, tensor: Tensor) -> bool:
        return _holds(self.through, tensor)


def _holds(tensors: list[Tensor], tensor: Tensor) -> bool:
    return any(tensor is one for one in tensors)


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
