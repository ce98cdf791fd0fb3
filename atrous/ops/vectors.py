"""Eight float32 numbers as one value in numba kernels.

LLVM turns a long loop into vector instructions by itself, but not a loop over a short row whose
length it does not know, such as the classes of a pixel. So kernels here say where a vector is: a
row of channels is padded to a multiple of `WIDTH` and walked by `load` and `store`. For a machine
with narrower vectors LLVM makes several instructions of one.

numba has no float16: arrays of uint16 stand for float16 numbers. `load` widens, `store` rounds.

Nothing checks where a vector lies, unless NUMBA_BOUNDSCHECK=1 is set when a kernel is compiled.
"""

import operator
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

WIDTH = 8
"""float32 numbers in one AVX register."""

_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INTS = ir.VectorType(ir.IntType(32), WIDTH)
_HALVES = ir.VectorType(ir.HalfType(), WIDTH)


class Float8(types.Type):
    """numba's type of a vector: LLVM's <8 x float>, without a form in Python."""

    def __init__(self) -> None:
        super().__init__(name="Float8")


float8 = Float8()


@register_model(Float8)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, front_end: Any) -> None:
        super().__init__(manager, front_end, _FLOATS)


def has_half() -> bool:
    """Whether the processor converts float16: x86 since 2012, and ARM of 64 bits."""
    features = llvmlite.binding.get_host_cpu_features()
    return "x86" not in llvmlite.binding.get_process_triple() or bool(features.get("f16c"))


def padded(channels: int) -> int:
    """The least multiple of `WIDTH` that is not less than `channels`."""
    return -(-channels // WIDTH) * WIDTH


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An empty array that begins at a cache line, so that no vector of a padded row crosses one."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + size].view(dtype).reshape(shape)


def _binary(function: Any, build: str) -> None:
    """Teach numba an operator on two vectors; `build` names the method of LLVM's builder."""

    @type_callable(function)
    def resolve(context):  # type: ignore[no-untyped-def]
        return lambda a, b: float8 if a == float8 and b == float8 else None

    @lower_builtin(function, float8, float8)
    def lower(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return getattr(builder, build)(*args)


for _function, _build in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _binary(_function, _build)


def _place(
    context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: ir.VectorType | None = None
) -> tuple[Any, ir.VectorType]:
    """(pointer to a vector that begins at array[index], type of that vector)."""
    vector = vector or (_HALVES if array_type.dtype == types.uint16 else _FLOATS)
    made = context.make_array(array_type)(context, builder, array)
    if context.enable_boundscheck:  # numba's own check sees indices only, not vectors
        for end in (index, builder.add(index, index.type(WIDTH - 1))):
            cgutils.do_boundscheck(context, builder, end, made.nitems)
    return builder.bitcast(builder.gep(made.data, [index]), vector.as_pointer()), vector


@intrinsic
def load(typing_context, array, index):  # type: ignore[no-untyped-def]
    """The eight numbers of a flat, contiguous array from `index` on."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer, vector = _place(context, builder, signature.args[0], *args)
        # Only a number's own alignment is promised: rows of logits begin anywhere.
        value = builder.load(pointer, align=2 if vector is _HALVES else 4)
        return builder.fpext(value, _FLOATS) if vector is _HALVES else value

    return float8(array, types.uint64), build


@intrinsic
def store(typing_context, array, index, value):  # type: ignore[no-untyped-def]
    """Write eight numbers into a flat, contiguous array from `index` on."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer, vector = _place(context, builder, signature.args[0], *args[:2])
        value = builder.fptrunc(args[2], vector) if vector is _HALVES else args[2]
        builder.store(value, pointer, align=2 if vector is _HALVES else 4)
        return context.get_dummy_value()

    return types.void(array, types.uint64, float8), build


@intrinsic
def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of an element that is needed soon; it may lie past the end."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # For reading (0), to be kept in all caches (3), as data (1).
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.uint64), build


@intrinsic
def spread(typing_context, scalar):  # type: ignore[no-untyped-def]
    """One number in all eight places."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, one, ir.Constant(_INTS, [0] * WIDTH))

    return float8(types.float32), build


def _call(builder: Any, name: str, *args: Any) -> Any:
    """Call one of LLVM's own functions on vectors."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * len(args)), f"llvm.{name}.v{WIDTH}f32"
    )
    return builder.call(function, args)


@intrinsic
def multiply_add(typing_context, a, b, c):  # type: ignore[no-untyped-def]
    """a * b + c, rounded once if the machine has such an instruction."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _call(builder, "fmuladd", *args)

    return float8(float8, float8, float8), build


@intrinsic
def larger(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The larger of a and b in each of the eight places; b where one of them is nan."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return float8(float8, float8), build


def _fold(builder: Any, vector: Any, step: Any) -> Any:
    """Combine a vector with itself turned by 4, 2 and 1 places; each place then has all eight."""
    half = WIDTH // 2
    while half:
        other = builder.shuffle_vector(vector, vector, ir.Constant(_INTS, [(i + half) % WIDTH for i in range(WIDTH)]))
        vector, half = step(vector, other), half // 2
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def largest(typing_context, vector):  # type: ignore[no-untyped-def]
    """The largest of eight numbers."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _fold(builder, args[0], lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))

    return types.float32(float8), build


@intrinsic
def total(typing_context, vector):  # type: ignore[no-untyped-def]
    """The sum of eight numbers, by halves."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _fold(builder, args[0], builder.fadd)

    return types.float32(float8), build


_EXP = np.array([1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1])
"""Taylor's coefficients, sixth power first; for |x| <= log(2) / 2 the error is 2e-7."""


@intrinsic
def exp(typing_context, vector):  # type: ignore[no-untyped-def]
    """e to the power of each number, up to 88.

    0 below -60: products of numbers so small are denormal, and those are slow.
    """

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        def floats(value: float) -> ir.Constant:
            return ir.Constant(_FLOATS, [float(np.float32(value))] * WIDTH)

        # e^x = 2^n e^r with n = round(x / log 2): a short polynomial of the small rest r, and n
        # added to the exponent bits of the result.
        x = args[0]
        powers = _call(builder, "nearbyint", builder.fmul(x, floats(1 / np.log(2))))
        # log 2 in two parts: n times the first is exact, so that r keeps its digits.
        rest = _call(builder, "fmuladd", powers, floats(-0.693359375), x)
        rest = _call(builder, "fmuladd", powers, floats(2.12194440e-4), rest)
        value = floats(_EXP[0])
        for coefficient in _EXP[1:]:
            value = _call(builder, "fmuladd", value, rest, floats(coefficient))
        shift = builder.shl(builder.fptosi(powers, _INTS), ir.Constant(_INTS, [23] * WIDTH))
        scaled = builder.bitcast(builder.add(builder.bitcast(value, _INTS), shift), _FLOATS)
        return builder.select(builder.fcmp_ordered(">", x, floats(-60.0)), scaled, floats(0.0))

    return float8(float8), build


@intrinsic
def choose(typing_context, a, b, x, y):  # type: ignore[no-untyped-def]
    """In each of the eight places x if a > b, else y."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered(">", *args[:2]), *args[2:])

    return float8(float8, float8, float8, float8), build


@intrinsic
def store_bytes(typing_context, array, index, a, b, c, d):  # type: ignore[no-untyped-def]
    """Write eight words of four whole numbers 0..255 into a flat uint32 array from `index` on.

    a's numbers go to the lowest byte of the words, d's to the highest.
    """

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer, _ = _place(context, builder, signature.args[0], *args[:2], _INTS)
        word = builder.fptosi(args[2], _INTS)
        for place, value in enumerate(args[3:], start=1):
            shifted = builder.shl(builder.fptosi(value, _INTS), ir.Constant(_INTS, [8 * place] * WIDTH))
            word = builder.or_(word, shifted)
        builder.store(word, pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.uint64, float8, float8, float8, float8), build


@intrinsic
def winner(typing_context, values, names):  # type: ignore[no-untyped-def]
    """The largest of eight values and its name; the lowest name of equal values."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        value, name = args
        half = WIDTH // 2
        while half:
            turn = ir.Constant(_INTS, [(i + half) % WIDTH for i in range(WIDTH)])
            value_2, name_2 = (builder.shuffle_vector(one, one, turn) for one in (value, name))
            lower = builder.and_(builder.fcmp_ordered("==", value_2, value), builder.fcmp_ordered("<", name_2, name))
            better = builder.or_(builder.fcmp_ordered(">", value_2, value), lower)
            value, name = builder.select(better, value_2, value), builder.select(better, name_2, name)
            half //= 2
        first = ir.Constant(ir.IntType(32), 0)
        pair = [builder.extract_element(one, first) for one in (value, name)]
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(types.float32, 2)(float8, float8), build
