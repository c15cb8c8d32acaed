"""Vector registers in numba: a type, loads and stores, and arithmetic.

How many numbers of which type a vector holds must be known when a kernel is compiled: `lanes` is a tuple of as many
zeros, whose length and type are part of its own type. A vector that does not fill its register, such as 12 numbers in
one for 16, is read and written through a mask, so that 36 channels take three vectors.

An array is given as itself or as its address in memory. Inner loops take addresses: with arrays, every call counts
their references, which took a fifth of a chain's time.

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
    kind = Vector(lanes.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(context, builder, _entry(context, builder, signature.args[0], args, kind), kind)

    return kind(_place(array), types.intp, lanes), generate


@instruction
def store(context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to array[index], array[index + 1], ..."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store(context, builder, _entry(context, builder, signature.args[0], args, value), args[2], value)
        return context.get_dummy_value()

    return types.void(_place(array), types.intp, value), generate


@instruction
def spread(context: Any, array: Any, index: Any, lanes: Any) -> Any:
    """array[index] in all lanes."""
    kind = Vector(lanes.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entry = _entry(context, builder, signature.args[0], args, kind)
        return _spread(context, builder, builder.load(entry), kind)

    return kind(_place(array), types.intp, lanes), generate


@instruction
def zero(context: Any, lanes: Any) -> Any:
    """A vector of zeros."""
    kind = Vector(lanes.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _zero(context, kind)

    return kind(lanes), generate


@instruction
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fma(context, builder, a, *args)

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


@instruction
def zeros(context: Any, count: Any, lanes: Any) -> Any:
    """As many vectors of zeros as `count` is long, a tuple."""
    kind = Vector(lanes.dtype, len(lanes))
    vectors = types.UniTuple(kind, len(count))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, vectors, [_zero(context, kind)] * len(count))

    return vectors(count, lanes), generate


@instruction
def load_all(context: Any, array: Any, index: Any, step: Any, count: Any, lanes: Any) -> Any:
    """The vectors from the entries index, index + step, ... on, as many as `count` is long."""
    kind = Vector(lanes.dtype, len(lanes))
    vectors = types.UniTuple(kind, len(count))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entries = _entries(context, builder, signature.args[0], args, kind, len(count))
        return context.make_tuple(builder, vectors, [_load(context, builder, entry, kind) for entry in entries])

    return vectors(_place(array), types.intp, types.intp, count, lanes), generate


@instruction
def store_all(context: Any, array: Any, index: Any, step: Any, values: Any) -> Any:
    """Write the vectors to the entries index, index + step, ... on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entries = _entries(context, builder, signature.args[0], args, values.dtype, len(values))
        for entry, value in zip(entries, cgutils.unpack_tuple(builder, args[3]), strict=True):
            _store(context, builder, entry, value, values.dtype)
        return context.get_dummy_value()

    return types.void(_place(array), types.intp, types.intp, values), generate


@instruction
def fma_all(context: Any, a: Any, array: Any, index: Any, step: Any, sums: Any) -> Any:
    """a b + c for the vectors b of array from the entries index, index + step, ... on and those c of `sums`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entries = _entries(context, builder, signature.args[1], args[1:], a, len(sums))
        found = [
            _fma(context, builder, a, args[0], _load(context, builder, entry, a), total)
            for entry, total in zip(entries, cgutils.unpack_tuple(builder, args[4]), strict=True)
        ]
        return context.make_tuple(builder, sums, found)

    return sums(a, _place(array), types.intp, types.intp, sums), generate


@instruction
def fma_spread(context: Any, a: Any, array: Any, index: Any, step: Any, sums: Any) -> Any:
    """a b + c for the numbers b of array at index, index + step, ..., in all lanes, and the vectors c of `sums`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entries = _entries(context, builder, signature.args[1], args[1:], a, len(sums))
        found = [
            _fma(context, builder, a, args[0], _spread(context, builder, builder.load(entry), a), total)
            for entry, total in zip(entries, cgutils.unpack_tuple(builder, args[4]), strict=True)
        ]
        return context.make_tuple(builder, sums, found)

    return sums(a, _place(array), types.intp, types.intp, sums), generate


@instruction
def plus_all(context: Any, a: Any, b: Any) -> Any:
    """The sums of the vectors of two tuples."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs = zip(*(cgutils.unpack_tuple(builder, values) for values in args), strict=True)
        return context.make_tuple(builder, a, [builder.fadd(*pair) for pair in pairs])

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


def _place(array: Any) -> Any:
    """The type of an argument that is an array, or an address."""
    return array if isinstance(array, types.Array) else types.intp


def _entry(context: Any, builder: Any, array: Any, args: Any, kind: Vector) -> Any:
    """Pointer to entry args[1] of args[0], an array or its address."""
    if isinstance(array, types.Array):
        return builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]])
    return builder.gep(builder.inttoptr(args[0], context.get_data_type(kind).element.as_pointer()), [args[1]])


def _entries(context: Any, builder: Any, array: Any, args: Any, kind: Vector, count: int) -> list[Any]:
    """Pointers to `count` entries of args[0] from args[1] on with step args[2]."""
    first = _entry(context, builder, array, args, kind)
    steps = [builder.mul(args[2], ir.Constant(args[2].type, place)) for place in range(count)]
    return [builder.gep(first, [step]) for step in steps]


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


def _store(context: Any, builder: Any, entry: Any, value: Any, kind: Vector) -> None:
    vector = context.get_data_type(kind)
    place, align = builder.bitcast(entry, vector.as_pointer()), kind.dtype.bitwidth // 8
    if kind.count == vector.count:
        builder.store(value, place).align = align
        return
    mask = _first_lanes(kind.count, vector.count)
    kinds = [vector, vector.as_pointer(), ir.IntType(32), mask.type]
    name = f"llvm.masked.store.v{vector.count}f{kind.dtype.bitwidth}.p0"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), kinds), name)
    builder.call(function, [value, place, ir.Constant(ir.IntType(32), align), mask])


def _spread(context: Any, builder: Any, value: Any, kind: Vector) -> Any:
    vector = context.get_data_type(kind)
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, nothing, everywhere)


def _fma(context: Any, builder: Any, kind: Vector, *values: Any) -> Any:
    vector = context.get_data_type(kind)
    name = f"llvm.fma.v{vector.count}f{kind.dtype.bitwidth}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    return builder.call(function, values)
