"""Vector registers in numba: a type, loads and stores, and arithmetic.

How many numbers a vector holds must be known when a kernel is compiled: `lanes` is a tuple of as many zeros, whose
length is part of its type. A vector that does not fill its register, such as 12 numbers in one for 16, is read and
written through a mask, so that 36 channels take three vectors.

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
        super().__init__(manager, kind, ir.VectorType(scalar, register_length(kind.count)))


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
        vector = context.get_data_type(value)
        place, align = builder.bitcast(entry, vector.as_pointer()), value.dtype.bitwidth // 8
        if value.count == vector.count:
            builder.store(args[2], place).align = align
            return context.get_dummy_value()
        mask = _first_lanes(value.count, vector.count)
        kinds = [vector, vector.as_pointer(), ir.IntType(32), mask.type]
        name = f"llvm.masked.store.v{vector.count}f{value.dtype.bitwidth}.p0"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), kinds), name)
        builder.call(function, [args[2], place, ir.Constant(ir.IntType(32), align), mask])
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
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
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
        name = f"llvm.fma.v{vector.count}f{a.dtype.bitwidth}"
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
    vector = context.get_data_type(kind)
    return ir.Constant(vector, [0.0] * vector.count)


def register_length(count: int) -> int:
    """The numbers of the register that holds a vector of `count`: the next power of two."""
    return 1 << (count - 1).bit_length()


def _first_lanes(count: int, length: int) -> Any:
    """A mask of the first `count` of `length` lanes."""
    return ir.Constant(ir.VectorType(ir.IntType(1), length), [int(lane < count) for lane in range(length)])


def _entry(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Pointer to array[index], the first two arguments."""
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


def _load(context: Any, builder: Any, entry: Any, kind: Vector) -> Any:
    vector, align = context.get_data_type(kind), kind.dtype.bitwidth // 8
    place = builder.bitcast(entry, vector.as_pointer())
    if kind.count == vector.count:
        value = builder.load(place)
        value.align = align
        return value
    mask = _first_lanes(kind.count, vector.count)
    kinds = [vector.as_pointer(), ir.IntType(32), mask.type, vector]
    name = f"llvm.masked.load.v{vector.count}f{kind.dtype.bitwidth}.p0"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, kinds), name)
    return builder.call(function, [place, ir.Constant(ir.IntType(32), align), mask, _zero(context, kind)])
