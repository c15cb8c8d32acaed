"""One run of a model in which every tensor carries the labels of its channels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from dnas.core.batch import map_tensors, tensors_in
from dnas.cost.flops import Inputs, call_arguments, operator_flops
from dnas.shrinking.blocks import LAYER_NORM, Block, Passage, innermost
from dnas.shrinking.book import Book, Call, Term
from dnas.shrinking.channels import Field, Fields, compress, vary
from dnas.shrinking.operators.pointwise import unknown
from dnas.shrinking.operators.table import name_of, rule_of
from dnas.system.errors import UserError
from dnas.system.reading import in_one_line

# Modules whose weights are laid out in a way that no rule knows; they stay as they are.
OPAQUE = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)

# Operators that hand a value to Python, or a shape that depends on values.
_READS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "unique", "_unique2"}


@dataclass(frozen=True)
class Trace:
    """What a run said about a model's channels.

    Args:
        book: ties, costs and integers.
        labels: for every parameter and buffer by name, its labels along each of its dimensions.
        parameters: the shapes of the parameters among them, by name.
        blocks: residual blocks that may be left out.
    """

    book: Book
    labels: dict[str, Fields]
    parameters: dict[str, tuple[int, ...]]
    blocks: tuple[Block, ...]


class _ReadsData(Exception):
    """Python read a value that depends on the input; what it does then is not known."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.module = module


def trace(model: nn.Module, example: Inputs) -> Trace:
    """Runs a copy of the model in eval mode and ties the channels that must change together.

    Modules that read values of the data in Python (an `if` on a tensor) are found on the way and stay as they
    are, as do LSTMs and the like.

    Args:
        model: any module; it is not changed.
        example: inputs as the model takes them: a tensor, a tuple of arguments, or a mapping of keyword arguments.

    Raises:
        UserError: the model cannot be copied, or refuses the example.
    """
    opaque = {
        name: f"{name or 'the model'} is a {type(module).__name__}"
        for name, module in model.named_modules()
        if isinstance(module, OPAQUE)
    }
    # In channels-last some layers of torch take operators that see strides instead of dimensions.
    example = map_tensors(Tensor.contiguous, example)
    while True:
        copy_of = copied(model).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        try:
            return _Run(copy_of, opaque).trace(example)
        except _ReadsData as read:
            opaque[read.module] = f"{read.module or 'the model'} decides in Python by values of the data"


def copied(model: nn.Module) -> nn.Module:
    """A copy in eval mode.

    Raises:
        UserError: it cannot be copied.
    """
    try:
        return copy.deepcopy(model).eval()
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"The model cannot be copied ({in_one_line(error)}), and shrinking works on copies. Make weights that are "
            "computed from others plain ones first, as torch.nn.utils.prune.remove does."
        ) from error


class _Run(TorchDispatchMode):
    """Sees every operator of one run, and which module it runs in."""

    def __init__(self, model: nn.Module, opaque: dict[str, str]) -> None:
        super().__init__()
        self._model = model
        self._opaque = opaque
        self._book = Book()
        self._stack: list[Passage] = []
        self._normalised: list[Tensor] = []
        self._blocks: list[Block | None] = []
        self._hidden = 0
        self._used: set[int] = set()

    def trace(self, example: Inputs) -> Trace:
        tensors = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        labels = {name: self._label(tensor) for name, tensor in tensors.items()}
        arguments, keywords = call_arguments(example)
        for tensor in (*tensors_in(arguments), *tensors_in(keywords)):
            if tensor.is_floating_point():
                self._book.data[tensor] = True
        with self._hooks(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            output = self._output(arguments, keywords)
        for tensor in tensors_in(output):
            self._freeze(self._book.of(tensor), "it reaches an output of the model")
        for name, tensor in tensors.items():
            if id(tensor) not in self._used:
                self._freeze(labels[name], "the example does not reach it")
        self._close_splits()
        shapes = {name: tuple(tensor.shape) for name, tensor in self._model.named_parameters()}
        return Trace(self._book, labels, shapes, innermost(self._blocks))

    def _output(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        try:
            with self:
                return self._model(*arguments, **keywords)
        except (_ReadsData, UserError):
            raise
        except Exception as error:  # whatever the user's own code raises
            raise UserError(
                f"The model refuses the example inputs ({type(error).__name__}: {in_one_line(error)}). Give inputs "
                "that it takes as example, as a tensor, a tuple of arguments or a dict."
            ) from error

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        inputs = [*tensors_in(args), *tensors_in(keywords)]
        self._used.update(id(tensor) for tensor in inputs)
        name = name_of(func)
        depends = any(tensor in self._book.data for tensor in inputs)
        passage = self._stack[-1]
        if depends and name in _READS and not self._hidden:
            raise _ReadsData(passage.name)
        out = func(*args, **keywords)
        if depends or name == "embedding":
            for tensor in tensors_in(out):
                self._book.data[tensor] = True
        if self._hidden or rule_of(func) is unknown:
            self._book.flops.append(Term(operator_flops(func, args, keywords, out), (), passage.name))
        if not self._hidden:
            arguments = _in_order(func, args, keywords)
            for one in self._stack:
                one.follow(name, arguments, out)
            if name == LAYER_NORM:
                self._normalised.append(out[0])
            rule_of(func)(Call(self._book, name, passage.name, passage.kind, arguments, out))
        return out

    def _label(self, tensor: Tensor) -> Fields:
        """New labels along each dimension of a weight or buffer of real numbers."""
        if not tensor.is_floating_point():
            return ()
        fields = []
        for axis, size in enumerate(tensor.shape):
            if size > 1:
                shape = [size if other == axis else 1 for other in range(tensor.ndim)]
                fields.append(self._book.channels.new(size).reshape(shape))
        self._book.fields[tensor] = tuple(fields)
        return tuple(fields)

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        """Every module says when it starts and ends; operators inside of an opaque one are not looked at."""
        for name, module in self._model.named_modules():
            module.register_forward_pre_hook(self._enter(name), with_kwargs=True)
            module.register_forward_hook(self._leave(name))
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before)

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, keywords: Any) -> None:
            self._stack.append(Passage.of(name, type(module), arguments, keywords, self._normalised))
            if name in self._opaque:
                self._hidden += 1
                for tensor in (*tensors_in(arguments), *tensors_in(keywords), *module.parameters(), *module.buffers()):
                    self._freeze(self._book.of(tensor), self._opaque[name])

        return hook

    def _leave(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            passage = self._stack.pop()
            self._blocks.append(passage.block(output))
            self._hidden -= name in self._opaque

        return hook

    def _freeze(self, fields: Fields, reason: str) -> None:
        for labels in fields:
            self._book.channels.freeze(labels, reason)

    def _close_splits(self) -> None:
        """Let the largest factor of each dimension that was taken apart change, and tie the others along."""
        changed = True
        while changed:
            changed = False
            for labels in self._book.splits:
                axes = _varying(self._book.channels.roots(labels))
                if len(axes) > 1:
                    largest = max(axes, key=lambda axis: labels.shape[axis])
                    others = tuple(axis for axis in axes if axis != largest)
                    self._book.channels.tie_along(labels, others, "one dimension is taken apart")
                    changed = True


def _varying(roots: Field) -> list[int]:
    """The dimensions along which labels differ."""
    small = compress(roots)
    return [axis for axis in range(small.ndim) if vary(small, axis)]


def _in_order(func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments of the operator in the order of its schema, with their defaults."""
    return tuple(
        args[place] if place < len(args) else keywords.get(argument.name, argument.default_value)
        for place, argument in enumerate(func._schema.arguments)
    )
