"""Vector registers in numba: a type, loads and stores, and arithmetic.

How many numbers a vector holds must be known when a kernel is compiled: `lanes` is a tuple of as many zeros, whose
length is part of its type.

numba leaves it to the compiler whether a loop becomes vectors, which it did not do well for these kernels: 10 to 14
GFLOP/s where explicit vectors reach 50 to 110 (docs/speed.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model


class Vector(types.Type):
    def __init__(self, dtype: Any, count: int):
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Vector({dtype}, {count})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector):
        scalar = ir.FloatType() if kind.dtype is types.float32 else ir.DoubleType()
        super().__init__(manager, kind, ir.VectorType(scalar, kind.count))


def instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a kernel calls with the arguments after `context`; `function` gives its type and what generates it."""
    return intrinsic(function)


@instruction
def load(context: Any, array: Any, index: Any, lanes: Any) -> Any:
    """The numbers array[index], array[index + 1], ..."""
    kind = Vector(array.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(context, builder, _entry(context, builder, signature, args), kind)

    return kind(array, types.intp, lanes), generate


@instruction
def load_at(context: Any, like: Any, address: Any, index: Any, lanes: Any) -> Any:
    """The numbers from entry `index` on of an array of the type of `like` that begins at an address in memory."""
    kind = Vector(like.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scalar = context.get_data_type(kind).element.as_pointer()
        return _load(context, builder, builder.gep(builder.inttoptr(args[1], scalar), [args[2]]), kind)

    return kind(like, types.intp, types.intp, lanes), generate


@instruction
def store(context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to array[index], array[index + 1], ..."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entry = _entry(context, builder, signature, args)
        written = builder.store(args[2], builder.bitcast(entry, context.get_data_type(value).as_pointer()))
        written.align = value.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@instruction
def spread(context: Any, array: Any, index: Any, lanes: Any) -> Any:
    """array[index] in all lanes."""
    kind = Vector(array.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_data_type(kind)
        first = ir.Constant(ir.IntType(32), 0)
        nothing = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(nothing, builder.load(_entry(context, builder, signature, args)), first)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        return builder.shuffle_vector(one, nothing, everywhere)

    return kind(array, types.intp, lanes), generate


@instruction
def zero(context: Any, array: Any, lanes: Any) -> Any:
    """Zeros of the array's type."""
    kind = Vector(array.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _zero(context, kind)

    return kind(array, lanes), generate


@instruction
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_data_type(a)
        name = f"llvm.fma.v{a.count}f{a.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        return builder.call(function, args)

    return a(a, b, c), generate


@instruction
def plus(context: Any, a: Any, b: Any) -> Any:
    """a + b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(args[0], args[1])

    return a(a, b), generate


@instruction
def positive(context: Any, a: Any) -> Any:
    """max(a, 0)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nothing = _zero(context, a)
        return builder.select(builder.fcmp_unordered("ugt", args[0], nothing), args[0], nothing)

    return a(a), generate


@instruction
def where_positive(context: Any, a: Any, b: Any) -> Any:
    """b where a > 0, else 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nothing = _zero(context, a)
        return builder.select(builder.fcmp_ordered(">", args[0], nothing), args[1], nothing)

    return a(a, b), generate


def _zero(context: Any, kind: Vector) -> Any:
    return ir.Constant(context.get_data_type(kind), [0.0] * kind.count)


def _entry(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Pointer to array[index], the first two arguments."""
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


def _load(context: Any, builder: Any, entry: Any, kind: Vector) -> Any:
    value = builder.load(builder.bitcast(entry, context.get_data_type(kind).as_pointer()))
    value.align = kind.dtype.bitwidth // 8
    return value
